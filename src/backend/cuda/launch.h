// Launches whose blocks take their places while the kernel before them ends (programmatic dependent
// launch).
//
// A gap between two dependent kernels of a recorded step is about a microsecond, as long as many of
// the kernels.  A kernel launched here is placed as soon as every block of the one before has allowed
// it or ended, and waits by itself for that one's results.
#pragma once

#include <cuda_runtime.h>

#include "backend/cuda/device.h"
#include "backend/cuda/wgmma.cuh"

namespace precis::cuda {

/// Waits for what earlier kernels wrote and lets the next kernel be placed.  Of a kernel launched by
/// launch_overlapping every thread calls it, or await_earlier_kernels, before it reads or writes what
/// others do; weights may be fetched before, and what the host has copied: no kernel is placed while
/// a copy before it is under way.
__device__ inline void begin_kernel() {
  await_earlier_kernels();
  allow_next_kernel();
}

/// Asks for the cache line at `address` without waiting for it.
__device__ inline void prefetch(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

/// Launches blocks of `n_threads`, `cluster` of them in a cluster.
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
