#include "backend/cuda/dense/call.cuh"
#include "backend/cuda/dense/config.h"
#include "backend/cuda/wgmma.cuh"
#include "base/check.h"

namespace precis::cuda {

CUtensorMap map_of(const WeightView& weight, int rows) {
  static const auto encode = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    constexpr unsigned kSince = 12'000;  // CUDA 12.0
    PRECIS_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, kSince,
                                                       cudaEnableDefault, &found));
    PRECIS_CHECK(found == cudaDriverEntryPointSuccess);
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  }();
  const std::uint32_t element_bytes = weight.format == WeightFormat::kBf16 ? 2 : 1;
  const cuuint64_t size[2] = {static_cast<cuuint64_t>(weight.n_in),
                              static_cast<cuuint64_t>(weight.n_out)};
  const cuuint64_t row_bytes[1] = {size[0] * element_bytes};
  const cuuint32_t box[2] = {kAtomRowBytes / element_bytes, static_cast<cuuint32_t>(rows)};
  const cuuint32_t every[2] = {1, 1};
  CUtensorMap map;
  const CUresult result = encode(
      &map, element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_UINT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8, 2,
      const_cast<std::uint8_t*>(weight.codes), size, row_bytes, box, every,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  PRECIS_CHECK(result == CUDA_SUCCESS);
  return map;
}

int choose_rows(const Device& device, std::span<const DenseTarget> targets, int n_groups) {
  // A block's products take as long as the bytes of so many rows, whatever rows it has.
  constexpr int kRowsOfBlock = 32;
  int best = 0;
  int best_load = 0;
  for (int rows = kWeightRows; rows >= kAtomRows; rows /= 2) {
    if (n_groups > 1 && targets[0].weight.n_out / n_groups % rows != 0) continue;
    int n_blocks = 0;
    for (const DenseTarget& target : targets) n_blocks += ceil_div(target.weight.n_out, rows);
    const int load = ceil_div(n_blocks, device.n_multiprocessors) * (rows + kRowsOfBlock);
    if (best == 0 || load < best_load) best = rows, best_load = load;
  }
  return best;
}

void cut_rows(DenseCall& call, int rows) {
  call.rows = rows;
  call.n_row_blocks = 0;
  for (int t = 0; t < call.n_targets; ++t) {
    call.first_block[t] = call.n_row_blocks;
    call.n_row_blocks += ceil_div(call.targets[t].weight.n_out, rows);
  }
}

}  // namespace precis::cuda
