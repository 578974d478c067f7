"""The paper's functional layers (figure 1), one module each.

1. Input: `image_input.ImageInput` (with `image_header`) and `file_name_input.FileNameInput`
2. Concatenation: `concatenation.Concatenation`
3. Trim: `trim.Trim`
4. Encoder: `token_encoder.TokenEncoder`
5. Embedding: `covid_lm.backbones.cls_encoder.ClsEncoder`
6. Feature extraction: `feature_extraction.FeatureExtraction`
7. Output: `class_output.ClassOutput`

1 to 4 and 7 are core TensorFlow ops and run on the host; 5 and 6 are `keras.ops`. In pre-training
`token_masking.TokenMasking` follows 4, on the host too; training with augmentation applies
`augmentation.Augmentation` between 1 and 2.
"""
