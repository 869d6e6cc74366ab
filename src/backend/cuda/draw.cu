#include "backend/cuda/draw.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kThreads = 256;
static_assert(kThreads == 256);  // a thread for each value of the table

// A thread makes the elements of one draw and stores them together.
template <typename T>
__global__ void draw_elements(__grid_constant__ const RandomTable table, std::int64_t n, T* out) {
  __shared__ T values[256];
  values[threadIdx.x] = static_cast<T>(table.values[threadIdx.x]);
  __syncthreads();
  struct alignas(sizeof(T) == 1 ? 8 : 16) Elements {
    T of[kElementsPerDraw];
  };
  const std::int64_t n_draws = (n + kElementsPerDraw - 1) / kElementsPerDraw;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n_draws;
       i += stride) {
    const std::uint64_t bits = random_bits(table.key, static_cast<std::uint64_t>(i));
    Elements elements;
    for (int e = 0; e < kElementsPerDraw; ++e) elements.of[e] = values[bits >> (8 * e) & 255];
    const std::int64_t at = i * kElementsPerDraw;
    if (at + kElementsPerDraw <= n) {
      *reinterpret_cast<Elements*>(out + at) = elements;
    } else {
      for (int e = 0; at + e < n; ++e) out[at + e] = elements.of[e];
    }
  }
}

template <typename T>
void launch(Device& device, const RandomTable& table, std::size_t n_bytes, std::byte* out) {
  const auto n = static_cast<std::int64_t>(n_bytes / sizeof(T));
  const std::int64_t per_block = kThreads * kElementsPerDraw;
  const std::int64_t wanted = (n + per_block - 1) / per_block;
  const std::int64_t most = std::int64_t{8} * device.n_multiprocessors;
  draw_elements<T>
      <<<static_cast<unsigned>(wanted < most ? wanted : most), kThreads, 0, device.stream>>>(
          table, n, reinterpret_cast<T*>(out));
  PRECIS_CUDA_LAUNCHED();
}

}  // namespace

void draw(Device& device, const RandomTable& table, std::size_t n_bytes, std::byte* out) {
  if (n_bytes == 0) return;
  switch (table.element_bytes) {
    case 1: return launch<std::uint8_t>(device, table, n_bytes, out);
    case 2: return launch<std::uint16_t>(device, table, n_bytes, out);
    case 4: return launch<std::uint32_t>(device, table, n_bytes, out);
    default: PRECIS_CHECK(false);
  }
}

}  // namespace precis::cuda
