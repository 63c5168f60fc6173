// Makes a compute pipeline of each SPIR-V file with a Vulkan driver, and prints what the driver says of its machine
// code. scripts/check_gpus compiles and runs it; scripts/gpus/judge.py reads the lines:
//
//   device TAB name TAB driver TAB version
//   FILE TAB compiled TAB lanes of a subgroup TAB NAME=VALUE|NAME=VALUE…     one for each machine code
//   FILE TAB unsupported TAB why                                              the driver lists no such matrices
//   FILE TAB refused TAB VkResult
//
// FILE is the name without its folder and .spv. Each file has one compute entry point. A driver that crashes ends the
// program; the files behind have no line then.
//
// The device has the features that wgpu-hal 30 asks for: all that there are, with robustBufferAccess and
// robustBufferAccess2, for shaders without naga's checks too. NVIDIA's and Apple's compilers pay for these with
// instructions. The pipeline layout is the program's: binding 0 is a uniform with a dynamic offset, the others are
// storage.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vulkan.h>

enum { BINDINGS = 12, OP_ENTRY_POINT = 15, OP_CONSTANT = 43, OP_TYPE_COOPERATIVE_MATRIX = 4456 };

static void demand(VkResult result, const char *what) {
  if (result == VK_SUCCESS) return;
  fprintf(stderr, "%s: VkResult %d\n", what, result);
  exit(1);
}

static VkPhysicalDevice first_device(VkInstance instance) {
  uint32_t count = 1;
  VkPhysicalDevice device = VK_NULL_HANDLE;
  vkEnumeratePhysicalDevices(instance, &count, &device);
  if (device) return device;
  fprintf(stderr, "the driver finds no device\n");
  exit(1);
}

// A Vulkan device, and what it offers.
typedef struct {
  VkDevice device;
  VkPipelineLayout layout;
  uint32_t shapes;
  VkCooperativeMatrixPropertiesKHR *shape; // NULL without such matrices
} Gpu;

enum { EXECUTABLES, MATRICES, ROBUSTNESS, EXTENSIONS };
static const char *const extensions[EXTENSIONS] = {
    VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME,
    VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME,
    VK_EXT_ROBUSTNESS_2_EXTENSION_NAME,
};

// Which of the extensions there are.
static void find_extensions(VkPhysicalDevice physical, int has[EXTENSIONS]) {
  uint32_t count = 0;
  vkEnumerateDeviceExtensionProperties(physical, NULL, &count, NULL);
  VkExtensionProperties *offered = calloc(count, sizeof *offered);
  vkEnumerateDeviceExtensionProperties(physical, NULL, &count, offered);
  for (int e = 0; e < EXTENSIONS; e++)
    for (uint32_t i = 0; i < count; i++) has[e] |= !strcmp(offered[i].extensionName, extensions[e]);
  free(offered);
}

static VkDevice open_device(VkPhysicalDevice physical, const int has[EXTENSIONS]) {
  void *next = NULL;
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, next};
  if (has[MATRICES]) next = &matrices;
  VkPhysicalDeviceRobustness2FeaturesEXT robustness = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ROBUSTNESS_2_FEATURES_EXT, next};
  if (has[ROBUSTNESS]) next = &robustness;
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR, next};
  VkPhysicalDeviceVulkan12Features vulkan12 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, &executables};
  VkPhysicalDeviceVulkan11Features vulkan11 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, &vulkan12};
  VkPhysicalDeviceFeatures2 features = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &vulkan11};
  vkGetPhysicalDeviceFeatures2(physical, &features); // all that there are
  matrices.cooperativeMatrixRobustBufferAccess = VK_FALSE;
  robustness.nullDescriptor = VK_FALSE;

  const char *enabled[EXTENSIONS];
  uint32_t count = 0;
  for (int e = 0; e < EXTENSIONS; e++)
    if (has[e]) enabled[count++] = extensions[e];
  float priority = 1;
  VkDeviceQueueCreateInfo queue = {
      VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO, .queueCount = 1, .pQueuePriorities = &priority};
  VkDeviceCreateInfo info = {VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                             &features,
                             .queueCreateInfoCount = 1,
                             .pQueueCreateInfos = &queue,
                             .enabledExtensionCount = count,
                             .ppEnabledExtensionNames = enabled};
  VkDevice device;
  demand(vkCreateDevice(physical, &info, NULL, &device), "vkCreateDevice");
  return device;
}

static VkPipelineLayout make_layout(VkDevice device) {
  VkDescriptorSetLayoutBinding bindings[BINDINGS];
  for (uint32_t i = 0; i < BINDINGS; i++)
    bindings[i] = (VkDescriptorSetLayoutBinding){
        i, i ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER : VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER_DYNAMIC, 1,
        VK_SHADER_STAGE_COMPUTE_BIT};
  VkDescriptorSetLayoutCreateInfo set_info = {
      VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, .bindingCount = BINDINGS, .pBindings = bindings};
  VkDescriptorSetLayout set;
  demand(vkCreateDescriptorSetLayout(device, &set_info, NULL, &set), "vkCreateDescriptorSetLayout");
  VkPipelineLayoutCreateInfo info = {
      VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1, .pSetLayouts = &set};
  VkPipelineLayout layout;
  demand(vkCreatePipelineLayout(device, &info, NULL, &layout), "vkCreatePipelineLayout");
  return layout;
}

static Gpu open_gpu(void) {
  VkApplicationInfo app = {VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_3};
  VkInstanceCreateInfo info = {VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &app};
  VkInstance instance;
  demand(vkCreateInstance(&info, NULL, &instance), "vkCreateInstance");
  VkPhysicalDevice physical = first_device(instance);
  VkPhysicalDeviceDriverProperties driver = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
  VkPhysicalDeviceProperties2 properties = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, &driver};
  vkGetPhysicalDeviceProperties2(physical, &properties);
  printf("device\t%s\t%s\t%s\n", properties.properties.deviceName, driver.driverName, driver.driverInfo);

  int has[EXTENSIONS] = {0};
  find_extensions(physical, has);
  if (!has[EXECUTABLES]) {
    fprintf(stderr, "the driver has no %s\n", extensions[EXECUTABLES]);
    exit(1);
  }
  Gpu gpu = {.device = open_device(physical, has)};
  gpu.layout = make_layout(gpu.device);
  if (has[MATRICES]) {
    PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR list =
        (PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)vkGetInstanceProcAddr(
            instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    list(physical, &gpu.shapes, NULL);
    gpu.shape = calloc(gpu.shapes, sizeof *gpu.shape);
    for (uint32_t i = 0; i < gpu.shapes; i++) gpu.shape[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    list(physical, &gpu.shapes, gpu.shape);
  }
  return gpu;
}

// A SPIR-V module: five words of header, then instructions that begin with their length and their kind.
typedef struct {
  uint32_t *words, count;
} Module;

static Module read_module(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) {
    perror(path);
    exit(1);
  }
  fseek(file, 0, SEEK_END);
  size_t bytes = (size_t)ftell(file);
  rewind(file);
  Module module = {malloc(bytes), (uint32_t)(bytes / 4)};
  if (fread(module.words, 1, bytes, file) != bytes) {
    perror(path);
    exit(1);
  }
  fclose(file);
  return module;
}

// The first instruction of a kind whose word `at` is `value` (`at` 0: whatever its words are), or NULL.
static const uint32_t *find(Module module, uint32_t kind, uint32_t at, uint32_t value) {
  for (uint32_t i = 5; i < module.count && module.words[i] >> 16; i += module.words[i] >> 16) {
    const uint32_t *instruction = module.words + i;
    if ((instruction[0] & 0xffff) == kind && (!at || instruction[at] == value)) return instruction;
  }
  return NULL;
}

// The side of the module's matrices: rows, columns and depth are the same in this program's. 0 without matrices.
static uint32_t matrix_side(Module module) {
  const uint32_t *matrix = find(module, OP_TYPE_COOPERATIVE_MATRIX, 0, 0);
  const uint32_t *rows = matrix ? find(module, OP_CONSTANT, 2, matrix[4]) : NULL;
  return rows ? rows[3] : 0;
}

// True if the driver lists matrices of this side, of f16 with sums in f32.
static int multiplies(const Gpu *gpu, uint32_t side) {
  for (uint32_t i = 0; i < gpu->shapes; i++) {
    const VkCooperativeMatrixPropertiesKHR *s = gpu->shape + i;
    if (s->MSize == side && s->NSize == side && s->KSize == side && s->AType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
        s->BType == VK_COMPONENT_TYPE_FLOAT16_KHR && s->CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
        s->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR)
      return 1;
  }
  return 0;
}

static void print_statistics(const Gpu *gpu, VkPipeline pipeline, const char *name) {
  PFN_vkGetPipelineExecutablePropertiesKHR get_executables =
      (PFN_vkGetPipelineExecutablePropertiesKHR)vkGetDeviceProcAddr(gpu->device, "vkGetPipelineExecutablePropertiesKHR");
  PFN_vkGetPipelineExecutableStatisticsKHR get_statistics =
      (PFN_vkGetPipelineExecutableStatisticsKHR)vkGetDeviceProcAddr(gpu->device, "vkGetPipelineExecutableStatisticsKHR");
  VkPipelineInfoKHR pipeline_info = {VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, NULL, pipeline};
  uint32_t executables = 0;
  get_executables(gpu->device, &pipeline_info, &executables, NULL);
  VkPipelineExecutablePropertiesKHR *executable = calloc(executables, sizeof *executable);
  for (uint32_t e = 0; e < executables; e++)
    executable[e].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
  get_executables(gpu->device, &pipeline_info, &executables, executable);
  for (uint32_t e = 0; e < executables; e++) {
    VkPipelineExecutableInfoKHR info = {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, NULL, pipeline, e};
    uint32_t count = 0;
    get_statistics(gpu->device, &info, &count, NULL);
    VkPipelineExecutableStatisticKHR *statistic = calloc(count, sizeof *statistic);
    for (uint32_t i = 0; i < count; i++) statistic[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    get_statistics(gpu->device, &info, &count, statistic);
    printf("%s\tcompiled\t%u\t", name, executable[e].subgroupSize);
    for (uint32_t i = 0; i < count; i++) {
      printf("%s%s=", i ? "|" : "", statistic[i].name);
      if (statistic[i].format == VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR) printf("%g", statistic[i].value.f64);
      else printf("%llu", (unsigned long long)statistic[i].value.u64);
    }
    printf("\n");
    free(statistic);
  }
  free(executable);
}

static void compile(const Gpu *gpu, const char *path) {
  const char *slash = strrchr(path, '/');
  const char *file = slash ? slash + 1 : path;
  char name[256];
  snprintf(name, sizeof name, "%.*s", (int)(strlen(file) - strlen(".spv")), file);
  Module module = read_module(path);
  uint32_t side = matrix_side(module);
  if (side && !multiplies(gpu, side)) {
    // With a shape that it does not list a driver crashes, or makes code without a word.
    printf("%s\tunsupported\tmatrices of %u x %u x %u\n", name, side, side, side);
    free(module.words);
    return;
  }
  VkShaderModuleCreateInfo shader_info = {
      VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = 4 * (size_t)module.count, .pCode = module.words};
  VkShaderModule shader = VK_NULL_HANDLE;
  VkPipeline pipeline = VK_NULL_HANDLE;
  VkResult result = vkCreateShaderModule(gpu->device, &shader_info, NULL, &shader);
  const uint32_t *entry = find(module, OP_ENTRY_POINT, 0, 0);
  if (result == VK_SUCCESS && entry) {
    VkPipelineShaderStageCreateInfo stage = {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                                             .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                                             .module = shader,
                                             .pName = (const char *)(entry + 3)};
    VkComputePipelineCreateInfo info = {VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
                                        .flags = VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR,
                                        .layout = gpu->layout,
                                        .stage = stage};
    result = vkCreateComputePipelines(gpu->device, VK_NULL_HANDLE, 1, &info, NULL, &pipeline);
  }
  if (result == VK_SUCCESS && pipeline) print_statistics(gpu, pipeline, name);
  else printf("%s\trefused\t%d\n", name, result);
  vkDestroyPipeline(gpu->device, pipeline, NULL);
  vkDestroyShaderModule(gpu->device, shader, NULL);
  free(module.words);
}

int main(int count, char **paths) {
  setvbuf(stdout, NULL, _IOLBF, 0); // what a crash leaves is whole lines
  Gpu gpu = open_gpu();
  for (int i = 1; i < count; i++) compile(&gpu, paths[i]);
  fflush(stdout);
  _Exit(0); // some drivers do not end well without their hardware
}
