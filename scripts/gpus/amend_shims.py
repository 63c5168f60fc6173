"""Teaches Mesa 25.0's drm-shims what the drivers of Mesa 26.1 ask for, and chips that they do not know.

usage: amend_shims.py MESA/src

Every change stands on text that must be in the file exactly once; otherwise it is another Mesa, and this stops.
"""

import re
import sys
from pathlib import Path

# AMD. RADV 26 asks for version 3.54 of the kernel's driver. For the compiler Navi 33 and RDNA 4 differ from Navi 31
# in these numbers alone.
AMD_VERSION = "version_minor = 64"
AMD_CHIPS = """
   static const struct {
      const char *name;
      unsigned family, revision, generation, vgprs;
   } later[] = {
      {"navi33", AMDGPU_FAMILY_GC_11_0_0, 0x10, 11, 1024},
      {"gfx1200", AMDGPU_FAMILY_GC_12_0_0, 0x40, 12, 1536},
      {"gfx1201", AMDGPU_FAMILY_GC_12_0_0, 0x50, 12, 1536},
   };
   for (unsigned l = 0; gpu_id && !amdgpu_dev && l < sizeof later / sizeof *later; l++) {
      for (unsigned i = 0; i < num_amdgpu_devices; i++) {
         if (strcasecmp(later[l].name, gpu_id) || strcmp(amdgpu_devices[i].name, "navi31"))
            continue;
         static struct amdgpu_device chip;
         chip = amdgpu_devices[i];
         chip.dev.family = later[l].family;
         chip.dev.external_rev = later[l].revision;
         chip.dev.num_shader_visible_vgprs = later[l].vgprs;
         chip.hw_ip_gfx.hw_ip_version_major = chip.hw_ip_compute.hw_ip_version_major = later[l].generation;
         chip.hw_ip_gfx.ip_discovery_version = chip.hw_ip_compute.ip_discovery_version = later[l].generation << 16;
         amdgpu_dev = &chip;
      }
   }
"""

# NVIDIA. The classes for copies, 3D and compute of Hopper, Ada and Blackwell; and the request for zcull.
NVIDIA_REQUEST = "\n   [0x13] = nouveau_ioctl_noop,"
NVIDIA_CLASSES = """
      static const struct {
         int chip, copy, graphics, compute;
      } later[] = {
         {0x180, 0xc8b5, 0xcb97, 0xcbc0},
         {0x190, 0xc7b5, 0xc997, 0xc9c0},
         {0x1a0, 0xc9b5, 0xcd97, 0xcdc0},
         {0x1b0, 0xcab5, 0xce97, 0xcec0},
      };
      for (unsigned l = 0; l < sizeof later / sizeof *later; l++) {
         if ((device_info.chip_id & ~0xf) != later[l].chip)
            continue;
         sclass->sclass.oclass[0].oclass = NVF0_P2MF_CLASS;
         sclass->sclass.oclass[1].oclass = later[l].copy;
         sclass->sclass.oclass[3].oclass = later[l].graphics;
         sclass->sclass.oclass[4].oclass = later[l].compute;
      }
"""

# Qualcomm. The request VM_BIND; and any chip by its id, 0x….
QUALCOMM_REQUEST = "   [0x0d] = msm_ioctl_noop,\n"
QUALCOMM_CHIPS = """
   if (!strncmp(env, "0x", 2)) {
      static struct msm_device_info chip = {.gmem_size = 3 * 1024 * 1024};
      chip.chip_id = strtoul(env, NULL, 16);
      device_info = &chip;
      return;
   }
"""

# Intel. A userptr of size 0 asks whether there are any.
INTEL_PROBE = """
   if (!userptr->user_size)
      return -EINVAL;"""

# Apple. Mesa 25.0 has the interface from before Linux took the driver in. ASAHI_GPU=GENERATION,VARIANT,CLUSTERS,CORES.
APPLE_PARAMS = """static struct drm_asahi_params_global params = {
   .gpu_generation = 13,
   .gpu_variant = 'G',
   .chip_id = 0x8103,
   .num_dies = 1,
   .num_clusters_total = 1,
   .num_cores_per_cluster = 8,
   .max_frequency_khz = 1278000,
   .core_masks = {0xff},
   .vm_start = 0x4000,
   .vm_end = 0x7fffff8000ull,
   .vm_kernel_min_size = 0x20000000,
   .max_commands_per_submission = 64,
   .max_attachments = 16,
   .command_timestamp_frequency_hz = 1000000000,
};"""
APPLE_REQUESTS = """static ioctl_fn_t driver_ioctls[] = {
   [DRM_ASAHI_GET_PARAMS] = asahi_ioctl_get_param,
   [DRM_ASAHI_GET_TIME] = asahi_ioctl_noop,
   [DRM_ASAHI_VM_CREATE] = asahi_ioctl_noop,
   [DRM_ASAHI_VM_DESTROY] = asahi_ioctl_noop,
   [DRM_ASAHI_VM_BIND] = asahi_ioctl_noop,
   [DRM_ASAHI_GEM_CREATE] = asahi_ioctl_gem_create,
   [DRM_ASAHI_GEM_MMAP_OFFSET] = asahi_ioctl_gem_mmap_offset,
   [DRM_ASAHI_GEM_BIND_OBJECT] = asahi_ioctl_noop,
   [DRM_ASAHI_QUEUE_CREATE] = asahi_ioctl_noop,
   [DRM_ASAHI_QUEUE_DESTROY] = asahi_ioctl_noop,
   [DRM_ASAHI_SUBMIT] = asahi_ioctl_submit,
};"""
APPLE_CHIPS = """   char variant;
   const char *chip = getenv("ASAHI_GPU");
   if (chip && sscanf(chip, "%u,%c,%u,%u", &params.gpu_generation, &variant, &params.num_clusters_total,
                      &params.num_cores_per_cluster) == 4) {
      params.gpu_variant = variant;
      for (unsigned cluster = 0; cluster < params.num_clusters_total; cluster++)
         params.core_masks[cluster] = (1u << params.num_cores_per_cluster) - 1;
   }
"""

# File, pattern, and its replacement, in which FOUND stands for the found text.
FOUND = "\0"
AMENDMENTS = [
    ("amd/drm-shim/amdgpu_noop_drm_shim.c", r"version_minor = 49", AMD_VERSION),
    ("amd/drm-shim/amdgpu_noop_drm_shim.c", r"   if \(!amdgpu_dev\) \{\n", AMD_CHIPS + FOUND),
    ("nouveau/drm-shim/nouveau_noop.c", r"\[DRM_NOUVEAU_EXEC\] = nouveau_ioctl_noop,", FOUND + NVIDIA_REQUEST),
    ("nouveau/drm-shim/nouveau_noop.c", r"oclass\[idx\]\.oclass = NVC0_COMPUTE_CLASS;\n +break;\n +\}\n", FOUND + NVIDIA_CLASSES),
    ("freedreno/drm-shim/freedreno_noop.c", r"   \[DRM_MSM_SUBMITQUEUE_NEW\]", QUALCOMM_REQUEST + FOUND),
    ("freedreno/drm-shim/freedreno_noop.c", r"   int gpu_id = atoi\(env\);\n", QUALCOMM_CHIPS + FOUND),
    ("intel/tools/intel_noop_drm_shim.c", r"struct drm_i915_gem_userptr \*userptr = arg;", FOUND + INTEL_PROBE),
    ("asahi/drm-shim/asahi_noop.c", r'#include "[./a-z]*/unstable_asahi_drm\.h"', "#include <drm/asahi_drm.h>\n#include <stdlib.h>"),
    ("asahi/drm-shim/asahi_noop.c", r"static const struct drm_asahi_params_global params = \{.*?\};", APPLE_PARAMS),
    ("asahi/drm-shim/asahi_noop.c", r"static ioctl_fn_t driver_ioctls\[\] = \{.*?\};", APPLE_REQUESTS),
    ("asahi/drm-shim/asahi_noop.c", r"   shim_device\.bus_type", APPLE_CHIPS + FOUND),
]


def amend(text, pattern, replacement, where):
    """The text with the one place where the pattern stands replaced."""
    places = list(re.finditer(pattern, text, re.DOTALL))
    if len(places) != 1:
        sys.exit(f"{where}: {pattern!r} is there {len(places)} times: this is not Mesa 25.0, for which it was written")
    [place] = places
    return text[: place.start()] + replacement.replace(FOUND, place.group()) + text[place.end() :]


def main():
    root = Path(sys.argv[1])
    for file, pattern, replacement in AMENDMENTS:
        path = root / file
        path.write_text(amend(path.read_text(), pattern, replacement, path))


if __name__ == "__main__":
    main()
