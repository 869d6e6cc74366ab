#include <algorithm>

#include "backend/cuda/dense/kernel.cuh"
#include "base/check.h"
#include "base/integers.h"

namespace precis::cuda {
namespace {

// What the TMA unit has to know of a weight to copy `rows` rows by 128 bytes, swizzled.
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

// Rows of a block so that the busiest multiprocessor has the fewest; the larger of equals, which
// reads the input less often.
int choose_rows(const Device& device, std::span<const DenseTarget> targets, int n_groups) {
  int best = 0;
  int best_load = 0;
  for (int rows = kWeightRows; rows >= kAtomRows; rows /= 2) {
    if (n_groups > 1 && targets[0].weight.n_out / n_groups % rows != 0) continue;
    int n_blocks = 0;
    for (const DenseTarget& target : targets) n_blocks += ceil_div(target.weight.n_out, rows);
    const int load = ceil_div(n_blocks, device.n_multiprocessors) * rows;
    if (best == 0 || load < best_load) best = rows, best_load = load;
  }
  return best;
}

template <typename Config>
int count_work(const DenseCall& call) {
  return ceil_div(call.n_row_blocks, Config::kCluster) * call.n_token_tiles;
}

void cut_rows(DenseCall& call, int rows) {
  call.rows = rows;
  call.n_row_blocks = 0;
  for (int t = 0; t < call.n_targets; ++t) {
    call.first_block[t] = call.n_row_blocks;
    call.n_row_blocks += ceil_div(call.targets[t].weight.n_out, rows);
  }
}

template <typename Config>
void launch(Device& device, DenseCall& call) {
  call.n_token_tiles = ceil_div(call.x.n_tokens, Config::kTokens);
  PRECIS_CUDA_CHECK(cudaFuncSetAttribute(
      dense_product<Config>, cudaFuncAttributeMaxDynamicSharedMemorySize, Config::kSharedBytes));
  const int n_clusters =
      std::min(count_work<Config>(call), device.n_multiprocessors / Config::kCluster);
  for (int t = 0; t < call.n_targets; ++t) {
    call.maps[t] = map_of(call.targets[t].weight, std::min(call.rows, kWeightRows));
  }
  launch_overlapping(device, dense_product<Config>,
                     dim3(static_cast<unsigned>(n_clusters * Config::kCluster)), Config::kThreads,
                     Config::kSharedBytes, Config::kCluster, call);
}

template <DenseKind kKind>
void launch_small(Device& device, DenseCall& call) {
  cut_rows(call, choose_rows(device, {call.targets, static_cast<std::size_t>(call.n_targets)},
                             call.n_groups));
  switch (tile_tokens(call.x.n_tokens)) {
    case 8: return launch<DenseConfig<kKind, 8>>(device, call);
    case 16: return launch<DenseConfig<kKind, 16>>(device, call);
    case 32: return launch<DenseConfig<kKind, 32>>(device, call);
    default: return launch<DenseConfig<kKind, 64>>(device, call);
  }
}

template <DenseKind kKind>
void launch_large(Device& device, DenseCall& call) {
  using Narrow = DenseConfig<kKind, 128>;
  cut_rows(call, Narrow::kConsumers * kWeightRows);
  if constexpr (kKind == DenseKind::kFp8) {
    using Wide = DenseConfig<kKind, 256>;
    const int n_clusters = device.n_multiprocessors / Wide::kCluster;
    const auto rounds = [&](int tokens) {
      const int n_pairs = ceil_div(call.n_row_blocks, Wide::kCluster);
      return ceil_div(n_pairs * ceil_div(call.x.n_tokens, tokens), n_clusters);
    };
    // A wide tile takes less than two narrow ones: it reads its weights once.
    constexpr double kWideCost = 1.8;
    if (rounds(Wide::kTokens) * kWideCost <= rounds(Narrow::kTokens)) {
      return launch<Wide>(device, call);
    }
  }
  launch<Narrow>(device, call);
}

template <DenseKind kKind>
void launch_kind(Device& device, DenseCall& call) {
  const int outs_per_group = call.targets[0].weight.n_out / call.n_groups;
  // The blocks of a cluster share their inputs, which are those of one group.
  using Large = DenseConfig<kKind, 128>;
  constexpr int kClusterRows = Large::kCluster * Large::kConsumers * kWeightRows;
  const bool fits_large = call.n_groups == 1 || outs_per_group % kClusterRows == 0;
  if (call.x.n_tokens > kWeightRows && fits_large) {
    launch_large<kKind>(device, call);
  } else {
    launch_small<kKind>(device, call);
  }
}

}  // namespace

bool is_dense(const WeightView& weight, int n_groups) {
  constexpr int kCopyUnit = 16;
  const bool has_format = weight.format == WeightFormat::kBf16 ||
                          (weight.format == WeightFormat::kFp8Block &&
                           weight.block_out == kSumBlock && weight.block_in == kSumBlock);
  const int row_bytes = weight.n_in * (weight.format == WeightFormat::kBf16 ? 2 : 1);
  return has_format && row_bytes % kCopyUnit == 0 &&
         (n_groups == 1 || weight.n_out / n_groups % kAtomRows == 0);
}

void multiply_dense(Device& device, const DenseInput& x, std::span<const DenseTarget> targets,
                    int n_groups, Rounding rounding) {
  if (x.n_tokens == 0) return;
  PRECIS_CHECK(n_groups == 1 || targets.size() == 1);
  const WeightFormat format = targets.front().weight.format;
  for (std::size_t begin = 0; begin < targets.size(); begin += kMaxTargets) {
    const auto part =
        targets.subspan(begin, std::min<std::size_t>(kMaxTargets, targets.size() - begin));
    DenseCall call{};
    call.x = x;
    std::ranges::copy(part, call.targets);
    call.n_targets = static_cast<int>(part.size());
    call.n_groups = n_groups;
    call.rounding = rounding;
    if (format == WeightFormat::kBf16) {
      launch_kind<DenseKind::kBf16>(device, call);
    } else if (x.scales == nullptr) {
      launch_kind<DenseKind::kFp8ByBf16>(device, call);
    } else {
      launch_kind<DenseKind::kFp8>(device, call);
    }
  }
}

}  // namespace precis::cuda
