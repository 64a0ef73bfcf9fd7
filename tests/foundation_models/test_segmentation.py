"""Classes of pixels: names, sizes, and networks in the format of transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from projects.DistillNeRF.foundation_models.map_network import describe_onnx
from projects.DistillNeRF.foundation_models.segmentation import (
    OTHER,
    ClassNames,
    OnnxOptions,
    map_size,
    onnx_segmenter,
    queries_to_scores,
    resize_scores,
    sky_of_probability,
    transformers_segmenter,
)
from projects.DistillNeRF.semantics.label_sets import MOVABLE, movable
from tests.helpers.refusals import assert_refused
from tests.helpers.tiny_map_models import CITYSCAPES, write_bright_sky, write_onnx, write_segmenter


def with_square(size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """A dark image with a bright part: top, bottom, left and right as shares of the sides."""
    image = np.full((*size, 3), 60, np.uint8)
    rows, columns = (np.array(part) * side for part, side in zip((box[:2], box[2:]), size, strict=True))
    image[slice(*rows.round().astype(int)), slice(*columns.round().astype(int))] = 220
    return image


def edges(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Top, bottom, left and right of what is true, as shares of the sides."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        rows[0] / len(mask),
        (rows[-1] + 1) / len(mask),
        columns[0] / mask.shape[1],
        (columns[-1] + 1) / mask.shape[1],
    )


@pytest.mark.parametrize('image_size', [(120, 200), (210, 130), (64, 96)])
def test_a_bright_part_lies_in_the_mask_where_it_lies_in_the_image(tmp_path, image_size):
    segmenter = transformers_segmenter(write_bright_sky(tmp_path / 'model'), None, 'cpu')
    for box in ((0.25, 0.5, 0.5, 0.75), (0, 0.5, 0, 1), (0.5, 0.8, 0.1, 0.3)):
        image = with_square(image_size, box)
        scores = segmenter.network(segmenter.network.prepare(image)[None])
        assert scores.shape == (1, 19, 16, 24)
        # Half a pixel of the scores.
        for size, tolerance in ((map_size(image_size, (16, 24)), 0.6 / 16), (image_size, 0.6 / 16)):
            sky = resize_scores(scores[0], size).argmax(0) == segmenter.classes.sky
            assert sky.shape == size
            np.testing.assert_allclose(edges(sky.numpy()), box, atol=tolerance)


def test_scores_of_mask2former_are_those_that_transformers_makes(tmp_path):
    transformers = pytest.importorskip('transformers')
    folder = write_segmenter(tmp_path / 'model', 'mask2former')
    segmenter = transformers_segmenter(folder, None, 'cpu')
    image = with_square((90, 130), (0.2, 0.6, 0.3, 0.7))
    prepared = segmenter.network.prepare(image)[None]
    scores = segmenter.network(prepared)[0]
    assert scores.shape == (19, 16, 24) and prepared.shape == (1, 64, 96, 3)
    model = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        found = model(pixel_values=segmenter.network.normalization(torch.from_numpy(prepared)))
    slow = torch.zeros_like(scores)
    for query in range(found.class_queries_logits.shape[1]):
        classes = torch.softmax(found.class_queries_logits[0, query].double(), 0)[:-1]
        mask = torch.sigmoid(found.masks_queries_logits[0, query].double())
        slow += (classes[:, None, None] * mask).float()
    torch.testing.assert_close(scores, slow, rtol=1e-4, atol=1e-5)
    assert queries_to_scores(found.class_queries_logits, found.masks_queries_logits).shape == (1, 19, 16, 24)


def test_images_come_in_as_the_processors_of_transformers_prepare_them(tmp_path):
    pytest.importorskip('transformers')
    from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

    folder = write_segmenter(tmp_path / 'model', 'segformer')
    network = transformers_segmenter(folder, None, 'cpu').network
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    wanted = SegformerImageProcessorPil.from_pretrained(folder)(images=image, return_tensors='pt')['pixel_values']
    given = network.normalization(torch.from_numpy(network.prepare(image)[None]))
    torch.testing.assert_close(given, wanted, rtol=1e-5, atol=1e-5)


def test_red_is_the_first_channel_unless_the_json_or_an_option_says_otherwise(tmp_path):
    # The first class is red, the second blue.
    model = write_onnx(tmp_path / 'model.onnx', [[1, 0, 0], [0, 0, 1]], [0, 0], size=(4, 6))
    red = np.zeros((1, 4, 6, 3), np.uint8)
    red[..., 0] = 255
    about = '{"input": {"scale": 0.00392156862745098, "channel_order": "%s"}, "classes": ["red", "blue"]}'
    for order, winner in (('RGB', 0), ('BGR', 1)):
        (tmp_path / 'model.json').write_text(about % order)
        segmenter = onnx_segmenter(model, OnnxOptions('cpu'))
        assert (segmenter.network(red)[0].argmax(0) == winner).all() and segmenter.classes.names == ('red', 'blue')
    assert (onnx_segmenter(model, OnnxOptions('cpu', 'unit', bgr=False)).network(red)[0].argmax(0) == 0).all()
    assert (onnx_segmenter(model, OnnxOptions('cpu', 'unit', bgr=True)).network(red)[0].argmax(0) == 1).all()


def test_a_json_normalizes_as_its_formula_says(tmp_path):
    (tmp_path / 'm.json').write_text('{"input": {"scale": 0.5, "mean": [1, 2, 3], "std": [4, 5, 8]}}')
    normalization = describe_onnx(tmp_path / 'm.onnx', None, False).normalization
    pixels = np.array([[[10, 20, 255]]], np.uint8)
    expected = [(10 * 0.5 - 1) / 4, (20 * 0.5 - 2) / 5, (255 * 0.5 - 3) / 8]
    np.testing.assert_allclose(normalization(torch.from_numpy(pixels[None])).flatten(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    'text', ['[]', '{"input": 3}', '{"classes": [1]}', '{"input": {"mean": "a"}}', '{"input": {"scale": 0}}', '{']
)
def test_a_json_that_says_something_else_is_refused(tmp_path, text):
    (tmp_path / 'm.json').write_text(text)
    assert_refused(lambda: describe_onnx(tmp_path / 'm.onnx', None, False), start=tmp_path / 'm.json')


def test_names_of_classes_are_found_whatever_their_writing():
    names = ClassNames(('Sky', 'road, route', 'traffic-light', 'Car', 'unknown thing'), 'net')
    table, others = names.numbers_among(CITYSCAPES, 'Cityscapes')
    assert names.sky == 0 and others == ['unknown thing']
    assert [CITYSCAPES[n] for n in table[:4]] == ['sky', 'road', 'traffic light', 'car'] and table[4] == OTHER
    # A part of a word is another word.
    assert_refused(lambda: ClassNames(('skyscraper', 'road'), 'net').sky, 'net', 'no class', 'skyscraper, road')
    assert_refused(lambda: ClassNames(('sky', 'sky'), 'net').sky, '2 classes')
    assert_refused(lambda: ClassNames(('LABEL_0',), 'net').numbers_among(CITYSCAPES, 'Cityscapes'), 'LABEL_0')
    assert_refused(lambda: ClassNames(('car', 'Car'), 'net').numbers_among(CITYSCAPES, 'Cityscapes'), 'several', 'car')


def test_what_can_move():
    labels = np.array([[CITYSCAPES.index(name) for name in MOVABLE], [0, 1, 2, 5, 8, 10, 255, 7]], np.uint8)
    assert movable(labels).tolist() == [[True] * 8, [False] * 8]


@pytest.mark.parametrize('image', [(540, 960), (900, 1600), (886, 1920), (1280, 1920), (1600, 900), (60, 100), (7, 9)])
@pytest.mark.parametrize('maps', [(384, 384), (256, 512), (128, 128), (1, 1), (2000, 4000)])
def test_maps_have_the_shape_of_their_images_and_lose_nothing(image, maps):
    height, width = map_size(image, maps)
    # As label maps must.
    assert abs(width * image[0] - height * image[1]) <= min(image) / 2
    assert height <= image[0] and width <= image[1]
    share = min(1, max(maps[0] / image[0], maps[1] / image[1]))
    assert abs(min(height, width) - share * min(image)) <= 1


@pytest.mark.parametrize('size', [(12, 20), (6, 10), (7, 9), (24, 40), (3, 40)])
def test_resizing_shifts_nothing(size):
    rows, columns = torch.meshgrid((torch.arange(12) + 0.5) / 12, (torch.arange(20) + 0.5) / 20, indexing='ij')
    resized = resize_scores(torch.stack([rows, columns]), size)
    assert resized.shape == (2, *size)
    for axis, side in enumerate(size):
        wanted = (torch.arange(side) + 0.5) / side
        found = resized[axis].mean(1 - axis)
        # The border has no neighbors.
        inner = (wanted > 0.17) & (wanted < 0.83)
        # A fraction of a pixel.
        torch.testing.assert_close(found[inner], wanted[inner], atol=0.06 / side, rtol=0)


def test_probabilities_have_a_middle_and_logits_need_a_threshold():
    probability = torch.tensor([[0.4, 0.6], [1.0, 0.0]])
    assert sky_of_probability(probability, None, 'net').tolist() == [[False, True], [True, False]]
    assert sky_of_probability(probability, 0.7, 'net').tolist() == [[False, False], [True, False]]
    logits = torch.tensor([[-3.0, 0.2]])
    assert_refused(lambda: sky_of_probability(logits, None, 'net'), 'net', '-3 to 0.2', '--threshold')
    assert sky_of_probability(logits, 0.0, 'net').tolist() == [[False, True]]


def test_models_of_another_kind_and_damaged_ones_are_refused(tmp_path):
    folder = write_segmenter(tmp_path / 'model', 'segformer')
    config = (folder / 'config.json').read_text()
    (folder / 'config.json').write_text(config.replace('"segformer"', '"clip"'))
    assert_refused(lambda: transformers_segmenter(folder, None, 'cpu'), folder, 'clip', 'segformer')
    (folder / 'config.json').write_text(config)
    weights = (folder / 'model.safetensors').read_bytes()
    (folder / 'model.safetensors').write_bytes(weights[: len(weights) // 2])
    assert_refused(lambda: transformers_segmenter(folder, None, 'cpu'), folder, 'cannot be loaded')
    (folder / 'model.safetensors').write_bytes(weights)
    (folder / 'preprocessor_config.json').unlink()
    assert_refused(lambda: transformers_segmenter(folder, None, 'cpu'), folder, 'preprocessor_config.json')
    onnx = write_onnx(tmp_path / 'model.onnx', [[1, 0, 0]], [0])
    assert_refused(lambda: onnx_segmenter(onnx, OnnxOptions('cpu')), onnx, '--normalize')
    assert_refused(lambda: onnx_segmenter(onnx, OnnxOptions('cpu', 'unit', input_size=(31, 50))), onnx, '30x50')
    onnx.write_bytes(onnx.read_bytes()[:100])
    assert_refused(lambda: onnx_segmenter(onnx, OnnxOptions('cpu', 'unit')), onnx)


def test_weights_that_give_nan_are_refused(tmp_path):
    model = write_onnx(tmp_path / 'model.onnx', [[np.nan, 0, 0]], [0], size=(4, 6))
    network = onnx_segmenter(model, OnnxOptions('cpu', 'unit')).network
    assert_refused(lambda: network(np.zeros((1, 4, 6, 3), np.uint8)), model, 'NaN')
