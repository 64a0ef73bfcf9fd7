"""One info format and the dataset class over it (``dataset``, which needs mmdet3d), converters, own images."""
