"""Names that were probably meant."""

from __future__ import annotations

from projects.DistillNeRF.configuration.suggestions import did_you_mean, meant_argument


def test_the_nearest_name_is_suggested_if_one_is_near():
    assert did_you_mean('optimizer', ['optimizer', 'model', 'optim_wrapper']) == '; did you mean optimizer?'
    assert did_you_mean('xyz', ['optimizer', 'model']) == ''
    assert did_you_mean('xyz', []) == ''


def test_arguments_of_a_class_and_its_bases_are_suggested():
    import projects.DistillNeRF.losses.modules  # noqa: F401

    unexpected = "got an unexpected keyword argument 'max_dept'"
    assert meant_argument(f'TypeError: DepthLoss.__init__() {unexpected}') == '; did you mean max_depth?'
    assert meant_argument(f'TypeError: Nobody.__init__() {unexpected}') == ''
    assert meant_argument('ValueError: something else') == ''
    weight = "DepthLoss.__init__() got an unexpected keyword argument 'loss_wight'"
    assert meant_argument(weight) == '; did you mean loss_weight?'
    assert meant_argument("DepthLoss.__init__() got an unexpected keyword argument 'selff'") == ''
