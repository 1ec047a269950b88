"""Completing what was not observed, estimating a flow and carrying a frame along it.

Flow is (x, y) in pixels per step, forward in time. Displacement is (x, y) in pixels, from where a parcel was in the
last observed frame to where it is now.
"""

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy import ndimage
from skimage.registration import optical_flow_tvl1

from physicnet.fields import Field
from physicnet.normalization import Normalizer

FADING = 20.0  # cells over which the nearest observed value gives way to the climatology
BLUR = 1.0  # cells: standard deviation of the Gaussian that takes single-cell noise off the frames before the flow
GREY_RANGE = 5.0  # standard deviations to one unit of grey, the scale that the settings of TV-L1 are made for
ATTACHMENT = 15.0  # weight of TV-L1's data term; 5 to 60 were tried


def nearest_observed(frame: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Give each missing cell the value of the nearest observed one; a frame without any comes back as it is."""
    if np.isnan(frame).all():
        return frame
    rows, columns = ndimage.distance_transform_edt(np.isnan(frame), return_distances=False, return_indices=True)
    return np.asarray(frame[rows, columns])


def last_frame(past: Field, mean: Float32[np.ndarray, "c h w"]) -> Float32[np.ndarray, "c h w"]:
    """Return the latest observed value of each cell, completed where the past has none.

    `mean` is the training mean, known everywhere. Beyond the coverage, the nearest observed value fades into it with
    the distance, exp(-distance / 20 cells): rain that comes in from there is most likely like that at the edge, and
    far from it like any rain. `benchmarks/README.md` compares it with the nearest value, the mean and zero.
    """
    frames = past.frames(0, past.shape[0])
    latest = frames[0]
    for frame in frames[1:]:
        latest = np.where(np.isnan(frame), latest, frame)
    return np.stack([_fade(*cells) for cells in zip(latest, mean, strict=True)])


def _fade(frame: Float32[np.ndarray, "h w"], mean: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    missing = np.isnan(frame)
    if missing.all():
        return mean
    near = np.exp(-ndimage.distance_transform_edt(missing) / FADING)
    return np.where(missing, mean + near * (nearest_observed(frame) - mean), frame).astype(np.float32)


def flow_images(past: Field, normalizer: Normalizer) -> Float64[np.ndarray, "t c h w"]:
    """Return the past as grey values fit for optical flow: transformed, standardised, slightly blurred, complete.

    Missing cells take the nearest observed value: any constant would draw the edge of the coverage into each frame,
    an edge that never moves.
    """
    frames = past.frames(0, past.shape[0]).astype(np.float64)
    filled = np.stack([[nearest_observed(cells) for cells in frame] for frame in frames])
    grey = normalizer.normalize(filled, past.times) / GREY_RANGE
    grey = np.where(np.isnan(grey), 0.0, grey)  # what a frame did not observe at all is flat
    return np.asarray(ndimage.gaussian_filter(grey, (0, 0, BLUR, BLUR)))


def flow_between(before: Float64[np.ndarray, "h w"], after: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "2 h w"]:
    """Return the TV-L1 flow that carries `before` to `after`."""
    # scikit-image returns the (row, column) shifts with after(x) = before(x + shift), which point back in time.
    rows, columns = optical_flow_tvl1(after, before, attachment=ATTACHMENT)  # type: ignore[no-untyped-call]
    return np.stack([-columns, -rows]).astype(np.float64)


def trajectories(flow: Float64[np.ndarray, "2 h w"], num_leads: int) -> Float64[np.ndarray, "k 2 h w"]:
    """Return the displacements after 1 to `num_leads` steps of a flow that stays as it is.

    Each step goes back along the velocity at its own midpoint, found by iteration (Staniforth and Cote 1991, eq. 10).
    """
    step = flow
    for _ in range(3):
        step = carry(flow, step / 2)
    displacement, steps = np.zeros(flow.shape), []
    for _ in range(num_leads):
        displacement = displacement + carry(step, displacement)
        steps.append(displacement)
    return np.stack(steps)


def carry(
    fields: Float[np.ndarray, "*c h w"], displacement: Float64[np.ndarray, "2 h w"]
) -> Float64[np.ndarray, "*c h w"]:
    """Return the fields as they are after the displacement: values at x - displacement(x), bilinear.

    Outside the frame the outermost cells continue.
    """
    height, width = displacement.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    where = np.stack([rows - displacement[1], columns - displacement[0]])
    layers = fields.reshape(-1, height, width).astype(np.float64)
    carried = [ndimage.map_coordinates(layer, where, order=1, mode="nearest") for layer in layers]
    return np.stack(carried).reshape(fields.shape)
