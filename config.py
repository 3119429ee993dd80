"""Every setting and its default. Edit here, or override one run: python inference.py --videos_folder=clips

Literals only. "" means "not set". Paths are relative to the folder that the script is started in.
"""

# Input
videos_folder = "data/videos"   # videos to predict, any that FFmpeg reads, or frames of some in videos_folder/frames/ID
stereo_layout = "mono"          # "mono", "top_bottom" or "left_right": of a stereo video the left eye is used
of_available = True             # use optical flow: a model with 6 input channels; False: one with 3
optical_flow_dir = ""           # flow images, named as the frames; "" = optical_flow beside the frames folder
resolution = (240, 320)         # (height, width) that frames are resized to, pixels; width a multiple of 4

# Prediction
inference_model = "models/SST_Sal.pth"  # our checkpoint, or one of the authors' two published files
geometry = ""                   # "exact", "released" or "released_wrap"; "" = the model's own (new training: exact)
results_dir = "results"         # maps as results_dir/ID/ID_FRAME.png, overlays as results_dir/ID.mp4
sequence_length = 20            # frames per window; the recurrent state starts afresh in each window
overlap = 4                     # frames that a window shares with the one before it, to warm up the state
overlay = True                  # write results_dir/ID.mp4, the saliency over the video
overlay_height = 720            # rows of the overlay video at most; live.py reduces all frames to so many
viewer = True                   # write results_dir/ID.html, the video on the sphere, to open in a browser
overwrite = False               # True: predict again what results_dir already holds
save_frames = False             # True: keep the sampled frames, and their flow, as images below videos_folder
export_file = ""                # ONNX file that export.py writes; "" = beside inference_model, ending in .onnx

# Live prediction
source = "data/videos/sample.mp4"   # a video file, the URL of a stream, or the number of a camera, the first being 0
live_flow_resolution = 256      # as flow_resolution, which see; fewer rows, since there is little time
live_port = 8360                # of the page to look at, http://127.0.0.1:8360; 0 = any port that is free
live_file = ""                  # overlay video (.mp4) to write as well; "" = none

# Optical flow
compute_flow = True             # of_available: make flow images that are missing; False: stop at the first that is
flow_method = ""                # "dis", "raft_large" or "raft_small"; "" = raft_large on a GPU once downloaded, or dis
flow_weights = ""               # RAFT's .pth file, torchvision's or the authors'; "" = torchvision's, downloaded
flow_resolution = 512           # rows at most of the frames that flow is computed on, and of the flow images
flow_save_raw = False           # also keep the flow itself, as ID_FRAME.npz: flow, float16, (height, width, 2), pixels

# Data set
frames_dir = "data/frames"      # frames to train on and to compare, as frames_dir/VIDEO/VIDEO_FRAME.png
gt_dir = "data/saliency_maps"   # ground-truth maps, as gt_dir/VIDEO/FRAME.png
videos_train_file = "data/train_split_VRET.txt"  # videos to train on: names on one line, separated by commas
videos_test_file = "data/test_split_VRET.txt"    # videos to evaluate on, likewise

# Ground truth from gaze
gaze_dir = "data/gaze"          # recordings: USER/VIDEO.txt below it (VR-EyeTracking), or tables *.csv
fixations_dir = ""              # fixations, as fixations_dir/VIDEO.csv; "" = fixations beside gt_dir
gaze_sigma = 5.0                # standard deviation of the Gaussian that each fixation spreads to, degrees

# Training
validation_split = 0.2          # share of videos_train_file, from its beginning, that chooses best.pt; 0 = none
cache_dir = "cache"             # frames, flow and maps, decoded and resized once: about 0.5 MB a frame at 240 x 320
skip_frames = 20                # frames left out at the beginning of each video, where observers still look ahead
random_yaw = True               # augmentation: turns each clip about the vertical axis
random_mirror = False           # augmentation: swaps east and west in half of the clips, motion and its colours too
hidden_dim = 36                 # channels of the encoder's state
latitude = True                 # the encoder also sees the latitude of every pixel
init_from = ""                  # model whose weights a new run starts from, widened to hidden_dim; "" = random weights
loss = "published"              # "published"; "proper", about 4000 times as large: use "adam"; "proper_cc", plus 1 - CC
optimizer = "sgd"               # "sgd", "adam", "adamw" or "muon", with lr as for "adam" and half of its steps or fewer
lr = 0.8                        # learning rate; the gradient is of the sum over the batch's frames
lr_schedule = "constant"        # "constant", or "cosine": half a wave from lr down to 0 over all epochs
weight_decay = 0.0              # of the optimizer
clip_grad = 0.0                 # longest gradient, as a norm over all weights; 0 = any
precision = "float32"           # of the convolutions: "float32", or on an NVIDIA GPU "tf32" or "bf16"
batch_size = 1                  # clips a step, of each process
epochs = 240                    # passes over the training windows
seed = 0                        # of weights, order and augmentation
model_name = "SST-Sal"          # of the run's folder, with the date, and of models_dir/MODEL_NAME.pth
models_dir = "models"           # where the best model goes when training has ended
runs_data_dir = "runs"          # one folder a run: settings, log, curves, TensorBoard, pictures
ckp_dir = ""                    # last.pt and best.pt go to ckp_dir/RUN; "" = into the run's folder
picture_interval = 10           # epochs between pictures of predicted maps beside their targets; 0 = none
resume = ""                     # last.pt of a run to continue, with its settings but for those on the command line

# Evaluation
evaluation_dir = "evaluation"   # evaluate.py's tables and figures
equator_sigma = 25.0            # of the equator prior, a Gaussian of latitude that others are compared with, degrees

# Machine
device = ""                     # "cpu", "cuda", "cuda:1"; "" = a GPU where there is one
num_workers = 2                 # processes that read frames while the model runs; 0 = read in the main process
