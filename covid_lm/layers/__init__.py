"""The paper's functional layers (section 3.1, figure 1), one module each.

1. Input: `image_input.ImageInput` (with `image_header`, `image_inspection`, `image_decode`) and
   `file_name_input.FileNameInput`
2. Concatenation: `concatenation.Concatenation`
3. Trim: `trim.Trim`
4. Encoder: `token_encoder.TokenEncoder`
5. Embedding: `covid_lm.backbones.cls_encoder.ClsEncoder`
6. Feature extraction: `feature_extraction.FeatureExtraction`
7. Output: `class_output.ClassOutput`

Layers 1 to 4 and 7 use core TensorFlow ops and run on the host; 5 and 6 use `keras.ops`.
`get_config` is the one that Keras derives from constructor arguments of Python's basic types.
`token_masking.TokenMasking` follows layer 4 in pre-training, and `augmentation.Augmentation` comes
between layers 1 and 2 where a training run augments its images.
"""
