"""Linear space without the teacher's depth; the published name has three l's."""

_base_ = './model_wrapper_linearspace_no_depth_distilll.py'
