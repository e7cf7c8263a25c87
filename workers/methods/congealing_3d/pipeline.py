"""3D Congealing (arXiv 2404.02125): one shape, a pose for every image, and maps between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import JsonValue
from safetensors.torch import save

from alignment.glb import read_glb
from alignment.mesh import Mesh
from api_schemas.methods.congealing_3d import MVDREAM, Congealing3dParams, GeneratedShape, MeshShape
from workers.methods.base import InputImage, Method, MethodResult
from workers.methods.congealing_3d.canonical import in_canonical_frame
from workers.methods.congealing_3d.generate.source import generate_shape
from workers.methods.congealing_3d.mapping import place_images
from workers.methods.congealing_3d.observing import observe
from workers.methods.congealing_3d.outcome import Provenance, outcome
from workers.methods.congealing_3d.pose.bank import SurfaceReader, build_bank
from workers.methods.congealing_3d.pose.grid import pose_grid
from workers.methods.congealing_3d.pose.search import find_poses
from workers.methods.congealing_3d.scene import Scene, set_scene
from workers.methods.congealing_3d.settings import describe_options, generate_options, grid_options, search_options
from workers.methods.features import Heartbeat, require_structure
from workers.rendering.surface import Surface
from workers.rendering.texturing import textured
from workers.run_context import Run

MESH = "shape.mesh"
"""The parameter that names a mesh, as the run knows it."""


class Congealing3d(Method[Congealing3dParams]):
    """Finds poses and maps by the features of a shape that is given, or made of the images."""

    @torch.no_grad()
    def run(self, images: Sequence[InputImage], params: Congealing3dParams, run: Run) -> MethodResult:
        """Congeal `images`; see `Method.run`.

        Checkpoints hold the making of a shape; poses and maps are computed again.

        Raises:
            UnfitImagesError: no image shows an object, or no solid shape could be made.
        """
        pulse = Heartbeat(run)
        pulse.stage("objects")
        require_structure(images)
        scene = set_scene(self.backbones, images, params, pulse, seed=run.seed, device=run.device)
        mesh, provenance = self._shape(scene, params, run, pulse)
        pulse.stage("candidates")
        canonical = textured(mesh, params.texture_size)
        backbone = self.backbones.get(params.backbone, params.features)
        options = describe_options(params)
        reader = SurfaceReader(Surface.of(mesh, run.device), backbone, options, log=pulse.log)
        bank = build_bank(reader, pose_grid(grid_options(params)).to(run.device), step=pulse.step, tick=pulse.beat)
        pulse.stage("poses")
        seen = observe(scene, backbone, bank.projection, options, device=run.device, tick=pulse.beat)
        poses = find_poses(seen, bank, reader, search_options(params), seed=run.seed, tick=pulse.beat, step=pulse.step)
        pulse.stage("maps")
        placed = place_images(
            scene,
            seen,
            poses.best,
            reader,
            bank.projection,
            side=params.map_size,
            warp=params.warp,
            tick=pulse.beat,
            step=pulse.step,
        )
        return outcome(
            scene,
            poses,
            placed,
            canonical,
            provenance,
            backbone,
            map_side=params.map_size,
            seed=run.seed,
            tick=pulse.beat,
        )

    def _shape(self, scene: Scene, params: Congealing3dParams, run: Run, pulse: Heartbeat) -> tuple[Mesh, Provenance]:
        if isinstance(params.shape, MeshShape):
            given = read_glb(run.meshes[MESH].read_bytes())
            return _given_shape(given, params.shape)
        return self._generated(scene, params.shape, run, pulse)

    def _generated(self, scene: Scene, asked: GeneratedShape, run: Run, pulse: Heartbeat) -> tuple[Mesh, Provenance]:
        networks = self.backbones.mvdream(MVDREAM)
        made = generate_shape(
            scene.crops.pictures,
            scene.crops.masks,
            generate_options(asked),
            networks,
            pulse,
            seed=run.seed,
            device=run.device,
        )
        field = save({name: tensor.float().contiguous() for name, tensor in made.field.items()})
        report: dict[str, JsonValue] = {
            "source": "generate",
            "vertices": len(made.mesh.vertices),
            "faces": len(made.mesh.faces),
        }
        return made.mesh, Provenance(
            {**made.report, **report},
            made.warnings,
            bundles={"canonical/token": {"token": made.token.float().numpy()}},
            tensors={"training_curve": made.curves["distillation"]},
            files={"canonical/field.safetensors": field},
        )


def _given_shape(given: Mesh, asked: MeshShape) -> tuple[Mesh, Provenance]:
    mesh = in_canonical_frame(given, up_axis=asked.up_axis, yaw_deg=asked.yaw_deg)
    low, high = np.asarray(given.bounds, dtype=np.float64)
    report: dict[str, JsonValue] = {
        "source": "mesh",
        "mesh": asked.mesh,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "is_coloured": mesh.is_coloured,
        "uploaded_box": [low.tolist(), high.tolist()],
    }
    warnings = () if mesh.is_coloured else ("the mesh has no colours: it was drawn grey, which features like less",)
    return mesh, Provenance(report, warnings)
