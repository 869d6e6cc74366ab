#include "backend/cuda/experts/layout.cuh"
#include "backend/cuda/experts/pack.h"
#include "backend/cuda/numbers.cuh"

namespace precis::cuda {
namespace {

constexpr int kGroup = 32;
constexpr int kThreads = 256;

// A warp per row: the greatest scale among its groups that are not zero.
__global__ void find_row_scales(const std::uint8_t* codes, const std::uint8_t* scales, int n_out,
                                int n_in, std::uint8_t* row_scales, int* misfits) {
  const int row = static_cast<int>(blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp);
  if (row >= n_out) return;
  const int n_groups = n_in / kGroup;
  const std::int64_t first = static_cast<std::int64_t>(row) * n_groups;
  std::uint32_t greatest = 0;
  std::uint32_t least_inverted = 0;  // 255 - the least
  for (int i = static_cast<int>(threadIdx.x) % kWarp; i < n_groups; i += kWarp) {
    const uint4 words = reinterpret_cast<const uint4*>(codes)[first + i];
    const std::uint32_t magnitudes = (words.x | words.y | words.z | words.w) & 0x77777777;
    const std::uint32_t scale = scales[first + i];
    if (magnitudes == 0 && scale != kE8m0Nan) continue;
    greatest = max(greatest, scale);
    least_inverted = max(least_inverted, 255 - scale);
  }
  greatest = warp_max(greatest);
  least_inverted = warp_max(least_inverted);
  if (threadIdx.x % kWarp != 0) return;
  row_scales[row] = static_cast<std::uint8_t>(greatest);
  const int spread = static_cast<int>(greatest + least_inverted) - 255;
  if (greatest == kE8m0Nan || spread > kMaxShift) atomicAdd(misfits, 1);
}

// A thread per group.
__global__ void pack_groups(const std::uint8_t* codes, const std::uint8_t* scales, int n_out,
                            int n_in, const std::uint8_t* row_scales, std::uint8_t* blocks) {
  const int n_groups = n_in / kGroup;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= static_cast<std::int64_t>(n_out) * n_groups) return;
  const auto row = static_cast<int>(i / n_groups);
  const auto group = static_cast<int>(i % n_groups);
  const uint4 words = reinterpret_cast<const uint4*>(codes)[i];
  std::uint8_t* block =
      blocks +
      (static_cast<std::int64_t>(row / kBlockRows) * (n_groups / 4) + group / 4) * kBlockBytes;
  const int unit = row % kBlockRows / kUnitRows;
  const int lane = row % kUnitRows * 4 + group % 4;
  *reinterpret_cast<uint4*>(block + unit * kUnitBytes + lane * 16) = make_uint4(
      packed_signs(words.x), packed_signs(words.y), packed_signs(words.z), packed_signs(words.w));
  const int shift = max(0, kMaxShift + scales[i] - row_scales[row]);  // 0 for groups of zeros
  block[kBlockCodeBytes + unit * kWarp + lane] =
      static_cast<std::uint8_t>(8 * min(shift, kMaxShift));
}

unsigned blocks_for(std::int64_t n_threads) {
  return static_cast<unsigned>((n_threads + kThreads - 1) / kThreads);
}

}  // namespace

bool has_packed_shape(const WeightSource& source) {
  return source.format == WeightFormat::kFp4Group && source.block_out == 1 &&
         source.block_in == kGroup && source.n_out > 0 && source.n_out % kBlockRows == 0 &&
         source.n_in > 0 && source.n_in % kDepth == 0;
}

std::size_t packed_bytes(const WeightSource& source) {
  return static_cast<std::size_t>(source.n_out / kBlockRows * (source.n_in / kDepth)) * kBlockBytes;
}

bool pack_fp4(Device& device, const WeightSource& source, const std::uint8_t* codes,
              const std::uint8_t* scales, std::uint8_t* blocks, std::uint8_t* row_scales) {
  const auto n_out = static_cast<int>(source.n_out);
  const auto n_in = static_cast<int>(source.n_in);
  int* misfits = device.workspace.take<int>(1);
  PRECIS_CUDA_CHECK(cudaMemsetAsync(misfits, 0, sizeof(int), device.stream));
  find_row_scales<<<blocks_for(std::int64_t{n_out} * kWarp), kThreads, 0, device.stream>>>(
      codes, scales, n_out, n_in, row_scales, misfits);
  PRECIS_CUDA_LAUNCHED();
  pack_groups<<<blocks_for(std::int64_t{n_out} * (n_in / kGroup)), kThreads, 0, device.stream>>>(
      codes, scales, n_out, n_in, row_scales, blocks);
  PRECIS_CUDA_LAUNCHED();
  int n_misfits = 0;
  PRECIS_CUDA_CHECK(
      cudaMemcpyAsync(&n_misfits, misfits, sizeof(int), cudaMemcpyDeviceToHost, device.stream));
  PRECIS_CUDA_CHECK(cudaStreamSynchronize(device.stream));
  return n_misfits == 0;
}

}  // namespace precis::cuda
