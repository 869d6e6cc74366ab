// Launches that may begin before the kernel in front of them has ended (programmatic dependent launch).
#pragma once

#include "backend/cuda/device.h"

namespace precis::cuda {

/// The kernel has to call await_earlier_kernels() before it reads what an earlier kernel wrote.
template <typename... Parameters, typename... Arguments>
void launch_overlapping(Device& device, void (*kernel)(Parameters...), dim3 grid, int n_threads,
                        int shared_bytes, int cluster, Arguments... arguments) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(n_threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = device.stream;
  config.attrs = attributes;
  config.numAttrs = cluster > 1 ? 2 : 1;
  PRECIS_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
}

}  // namespace precis::cuda
