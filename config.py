"""Every setting and its default. Edit here, or override one run: python inference.py --videos_folder=clips

Literals only. "" means "not set". Paths are relative to the folder that the script is started in.
"""

# Input
videos_folder = "data/videos"   # videos to predict, any that FFmpeg reads; their frames go to videos_folder/frames/ID
stereo_layout = "mono"          # "mono", "top_bottom" or "left_right": of a stereo video the left eye is used
of_available = False            # use optical flow: a model with 6 input channels instead of 3
optical_flow_dir = ""           # flow images, named as the frames; "" = optical_flow beside the frames folder
resolution = (240, 320)         # (height, width) that frames are resized to, pixels; both even

# Prediction
inference_model = "models/SST_Sal_wo_OF.pth"  # our checkpoint, or one of the authors' two published files
geometry = ""                   # "exact", "released" or "released_wrap"; "" = the model's own (new training: exact)
results_dir = "results"         # maps as results_dir/ID/ID_FRAME.png, overlays as results_dir/ID.mp4
sequence_length = 20            # frames per window; the recurrent state starts afresh in each window
overlap = 4                     # frames that a window shares with the one before it, to warm up the state
overlay = True                  # write results_dir/ID.mp4, the saliency over the video
overlay_height = 720            # rows of the overlay video at most
overwrite = False               # True: predict again what results_dir already holds

# Machine
device = ""                     # "cpu", "cuda", "cuda:1", "mps"; "" = a GPU where there is one
num_workers = 2                 # processes that read frames while the model runs; 0 = read in the main process
