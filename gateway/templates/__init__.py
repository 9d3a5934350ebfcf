"""What is it? DTMIs, DTDL models, and the device templates built from them. Pure."""
