"""The Waymo Open Dataset, without TensorFlow.

``frames`` is what a reader makes of a file, whatever its format; ``v1`` reads TFRecords; ``range_images`` makes points;
``records`` and ``segments`` write files and info records of our format; ``convert`` is the command.
"""
