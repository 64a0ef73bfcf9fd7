"""The Waymo Open Dataset, without TensorFlow.

``frames`` is what a reader makes of a file, whatever its format. ``v1`` reads TFRecords (framed as in ``tfrecord``),
``v2`` Parquet files (read by ``parquet``, with the columns in ``components``); ``reading`` is what both share, and
``formats`` chooses. ``range_images`` makes points; ``records`` and ``segments`` write files and info records of our
format; ``convert`` is the command.
"""
