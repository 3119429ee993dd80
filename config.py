"""Every setting and its default. Edit here, or override one run: python inference.py --videos_folder=clips

Literals only. "" means "not set". Paths are relative to the folder that the script is started in.
"""

# Input
videos_folder = "data/videos"   # videos to predict, any that FFmpeg reads, or frames, in videos_folder/frames/ID
stereo_layout = "mono"          # "mono", "top_bottom" or "left_right": of a stereo video the left eye is used
projection = ""                 # "equirectangular", "half_equirectangular", "cubemap", "eac", "dual_fisheye"; "" = auto
of_available = True             # True: the model reads frame and optical flow, 6 channels; False: the frame, 3 channels
optical_flow_dir = ""           # flow images, named as the frames; "" = in optical_flow, beside the frames' folder
resolution = (240, 320)         # (height, width) that frames are resized to, pixels; width a multiple of 4

# Prediction
inference_model = "models/SST_Sal.pth"  # our checkpoint, or one of the authors' two published files
geometry = ""                   # "exact", "released" or "released_wrap"; "" = the model's own (new training: exact)
results_dir = "results"         # maps as results_dir/ID/ID_FRAME.png, overlays as results_dir/ID.mp4
sequence_length = 20            # frames per window; the recurrent state starts afresh in each window
overlap = 4                     # frames that a window shares with the one before it, to warm up the state
save_maps = "png"               # "png", "npy" (results_dir/ID_maps.npy, float32, with their own scale) or "both"
regions = ""                    # (rows, columns): write results_dir/ID_regions.csv, each tile's share; "" = do not
overlay = True                  # write results_dir/ID.mp4, the saliency over the video
overlay_height = 720            # largest height of the overlay video, rows; live.py first reduces every frame to it
viewer = True                   # write results_dir/ID.html, the video on the sphere, to open in a browser
sound = True                    # overlay and page keep the video's sound; the page is silent until one turns it on
overwrite = False               # True: predict again what is already in results_dir
save_frames = False             # True: keep the sampled frames, and their flow, as images below videos_folder
export_file = ""                # ONNX file that export.py writes; "" = beside inference_model, ending in .onnx

# Live prediction
source = "data/videos/sample.mp4"   # a video file; live.py: or a stream's URL or a camera, 0; reframe.py: or results
live_flow_resolution = 256      # flow_resolution of live.py: fewer rows, since there is little time
live_port = 8360                # port of the page, http://127.0.0.1:8360; 0 = any free port
live_file = ""                  # also write the overlay to this file (.mp4); "" = do not

# Film of a virtual camera
film_file = ""                  # the film that reframe.py makes of its source, .mp4; "" = results_dir/ID_film.mp4
field_of_view = 90.0            # width of its picture, degrees
top_speed = 30.0                # of the camera, degrees a second
calm = 1.0                      # how much the camera would rather rest: 0 = follow everything, 5 = hardly ever move

# Optical flow
compute_flow = True             # True: make flow images that are missing; False: stop at the first that is missing
flow_method = ""                # "dis_gated", "dis", "raft_large", "raft_small"; "" = dis_gated (GPU: see docs/flow.md)
flow_weights = ""               # RAFT's .pth file, torchvision's or the authors'; "" = torchvision's, downloaded
flow_resolution = 384           # largest number of rows that flow is computed on; larger frames are reduced first
flow_save_raw = False           # also write ID_FRAME.npz: the array flow, float16, (height, width, 2), in pixels

# Data set
protocol = ""                   # "sst_sal" or "ours": the settings of an evaluation, see docs/evaluation.md; "" = these
frames_dir = "data/frames"      # frames to train on and to evaluate on, as frames_dir/VIDEO/VIDEO_FRAME.png
frames_ids = ""                 # "number" or "name": what data sets' names mean, folders or files; "" = files, checked
gt_dir = "data/saliency_maps"   # ground-truth maps, as gt_dir/VIDEO/FRAME.png, or as docs/recordings.md lists them
gt_first_frame = 0              # number of the first frame in the names of those maps
gt_fps = 0.0                    # maps a second in arrays of all frames, 1 for Panonut360; 0 = one a frame
videos_train_file = "data/train_split_VRET.txt"  # videos to train on: names on one line, separated by commas
videos_test_file = "data/test_split_VRET.txt"    # videos to evaluate on, written likewise

# Ground truth from gaze
gaze_dir = "data/gaze"          # recordings, in any of the formats of docs/recordings.md
gaze_format = ""                # format of all files there, such as "vr_eyetracking" or "table"; "" = recognise each
gaze_kind = ""                  # "gaze" or "head", of data that have both; "" = gaze where there is any
mirror_gaze = False             # True: west and east change places, for data whose left and right are not known
gaze_fps = 0.0                  # frames a second of videos that no catalogue lists, for times; 0 = not known
table_origin = "top"            # where fractions v of a table are 0: "top" or "bottom"
table_first_frame = 0           # number of the first frame in tables
table_time = "s"                # unit of times in tables whose column does not say it: "s", "ms", "us" or "ns"
fixations = "samples"           # "samples"; "ivt": fixations found by velocity; "recorded": those the data set names
ivt_velocity = 30.0             # fixations of "ivt": the gaze is slower than this, degrees a second
ivt_duration = 100.0            # and a fixation lasts at least as long as this, milliseconds
fixations_dir = ""              # fixations, as fixations_dir/VIDEO.csv; "" = the folder fixations beside gt_dir
gaze_sigma = 5.0                # standard deviation of the Gaussian that each fixation spreads to, degrees
gaze_blur = "sphere"            # "sphere": Gaussians of great-circle distance; "image": the authors' blur in the image

# Training
validation_split = 0.2          # share of videos_train_file, its first videos, whose loss chooses best.pt; 0 = none
cache_dir = "cache"             # where train.py keeps decoded, resized images: about 0.5 MB a frame at 240 x 320
skip_frames = 20                # frames left out at the beginning of each video, where observers still look ahead
random_yaw = True               # augmentation: turn each clip about the vertical axis
random_mirror = False           # augmentation: mirror half of the clips, west to east, with the colours of their motion
hidden_dim = 36                 # channels of the encoder's state
latitude = True                 # the encoder also sees the latitude of every pixel
init_from = ""                  # model whose weights a new run starts from, widened to hidden_dim; "" = random weights
loss = "published"              # "published"; "proper", about 4000 times as large: use "adam"; "proper_cc" adds 1 - CC
optimizer = "sgd"               # "sgd", "adam", "adamw", or "muon": the lr of "adam", half as many steps or fewer
lr = 0.8                        # learning rate; the loss is the sum over the frames of a batch
lr_schedule = "constant"        # "constant", or "cosine": falls from lr to 0 over all epochs, as half a cosine wave
weight_decay = 0.0              # weight decay of the optimizer
clip_grad = 0.0                 # largest norm of the gradient over all weights; 0 = no limit
precision = "float32"           # precision of the convolutions: "float32"; on an NVIDIA GPU also "tf32" or "bf16"
batch_size = 1                  # clips a step, in each process
epochs = 240                    # passes over the training windows
seed = 0                        # seed of the weights, the order of the clips and the augmentation
model_name = "SST-Sal"          # names the run's folder (with the date) and the model, models_dir/MODEL_NAME.pth
models_dir = "models"           # where the best model goes when training has ended
runs_data_dir = "runs"          # one folder a run: settings, log, curves, TensorBoard, pictures
ckp_dir = ""                    # last.pt and best.pt go to ckp_dir/RUN; "" = to the run's folder
picture_interval = 10           # epochs between pictures of predicted maps beside their targets; 0 = none
resume = ""                     # last.pt of a run to continue, with its own settings; the command line overrides them

# Evaluation
evaluation_dir = "evaluation"   # where evaluate.py writes tables and figures
evaluation_skip = 0             # frames left out at the beginning of each video that is compared
weighting = "area"              # of scores: "area": the solid angle of pixels; "sin": sine from 0 to pi over the rows
equator_sigma = 25.0            # standard deviation of the equator prior, a Gaussian of latitude, degrees

# Machine
device = ""                     # "cpu", "cuda", "cuda:1"; "" = a GPU where there is one
num_workers = 2                 # processes that read frames while the model runs; 0 = read in the main process
