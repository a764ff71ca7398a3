"""Write pictures by some twenty generators of 2024 to 2026, as PyPI's ComfyUI template packages show them.

Usage: python train/default_model/recent_generators.py WHEELS FOLDER
  WHEELS  folder of the wheels that make.sh downloads
  FOLDER  where to write a PNG of each picture, and of the middle frame of each clip

Only previews of templates that make a picture or clip from text alone, in which a photographic face can be
made out; those of statues, masks, drawings and dolls are left out. They were chosen by what they show, before
any of them had a verdict.
"""

import io
import sys
import zipfile
from pathlib import Path

from PIL import Image

PREVIEWS = {
    "media_api": (
        "api_bfl_flux_pro_t2i-1",
        "api_runway_text_to_image-1",
        "api_vidu_q2_t2v-1",
        "api_wan2_6_t2v-1",
    ),
    "media_assets_01": ("api_minimax_h3_max_t2v-1", "video_ltx2_5_t2v-1"),
    "media_assets_02": ("api_heygen_video_1_t2v-1", "image_qwen_image_2_1_turbo_t2i-1"),
    "media_image": (
        "api_bytedance_seedream_5_0_lite_t2i-1",
        "api_grok_text_to_image-1",
        "flux1_krea_dev-1",
        "flux_dev_checkpoint_example-1",
        "hidream_i1_dev-1",
        "hidream_i1_full-1",
        "image_boogu_image_0_1_turbo_t2i-1",
        "image_flux2-2",
        "image_hidream_o1-1",
        "image_z_image_turbo-1",
        "video_kandinsky5_t2v-1",
        "video_ltx2_t2v_distilled-1",
    ),
    "media_video": (
        "api_happyhorse1_1_t2v-1",
        "api_vidu_q3_text_to_video-1",
        "ltxv_text_to_video-1",
        "video_wan2.1_alpha_t2v_14B-1",
        "video_wan2_2_14B_t2v-1",
    ),
}
"""Names of the previews by package, without comfyui_workflow_templates_ and .webp."""


def write(wheels: Path, folder: Path) -> int:
    """Write the pictures and return how many there are.

    Args:
        wheels: Folder of the wheels, one of each package.
        folder: Made where it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for short, names in PREVIEWS.items():
        package = f"comfyui_workflow_templates_{short}"
        found = sorted(wheels.glob(f"{package}-*.whl"))
        if len(found) != 1:
            sys.exit(f"{wheels} holds {len(found)} wheels of {package}; download the one that make.sh names")
        with zipfile.ZipFile(found[0]) as archive:
            for name in names:
                content = archive.read(f"{package}/templates/{name}.webp")
                with Image.open(io.BytesIO(content)) as picture:
                    picture.seek(getattr(picture, "n_frames", 1) // 2)
                    picture.convert("RGB").save(folder / f"{name}.png")
                count += 1
    return count


if __name__ == "__main__":
    wheels, folder = map(Path, sys.argv[1:])
    sys.stdout.write(f"{write(wheels, folder)} pictures in {folder}\n")
