#include <algorithm>

#include "backend/cuda/dense/kernel.cuh"
#include "backend/cuda/dense/many.h"
#include "base/check.h"
#include "base/integers.h"

namespace precis::cuda {
namespace {

template <typename Config>
int count_work(const DenseCall& call) {
  return ceil_div(call.n_row_blocks, Config::kCluster) * call.n_token_tiles;
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
  using Large = DenseConfig<kKind, 128>;
  cut_rows(call, Large::kConsumers * kWeightRows);
  launch<Large>(device, call);
}

// The blocks of a cluster share their inputs, which are those of one group.
template <DenseKind kKind>
bool fits_large(const DenseCall& call) {
  using Large = DenseConfig<kKind, 128>;
  constexpr int kClusterRows = Large::kCluster * Large::kConsumers * kWeightRows;
  return call.n_groups == 1 || call.targets[0].weight.n_out / call.n_groups % kClusterRows == 0;
}

template <DenseKind kKind>
void launch_kind(Device& device, DenseCall& call) {
  const bool is_large = call.x.n_tokens > kWeightRows;
  if constexpr (kKind == DenseKind::kFp8) {
    if (is_large && fits_many(call)) return multiply_many(device, call);
  } else {
    if (is_large && fits_large<kKind>(call)) return launch_large<kKind>(device, call);
  }
  launch_small<kKind>(device, call);
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
