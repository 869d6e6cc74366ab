// Sizes of the expert kernel, and which block does which part of the work.
#pragma once

#include "backend/cuda/experts/layout.cuh"
#include "backend/cuda/experts/rows.h"
#include "backend/cuda/weight.h"

namespace precis::cuda {

/// Everything that the kernel reads and writes; tables hold the routed experts, then the shared one.
struct MixtureArgs {
  const WeightView* w1;
  const WeightView* w3;
  const WeightView* w2;
  RowPlan plan;
  QuantisedRows x;
  QuantisedRows hidden;
  std::uint16_t* outputs;  // [rows, width] bf16
  int width;
  int hidden_width;
  float limit;
  // Few rows: bytes are what a piece costs, an FP8 one twice as many, and a block takes neighbours.
  // Many rows: pieces cost the same, and neighbours, which share rows and weights, run side by side.
  bool is_bound_by_bytes;
};

template <int kMaxRows>
struct MixtureConfig {
  static constexpr int kConsumerWarps = 8;  // two warpgroups, a tile of 64 weight rows each
  static constexpr int kConsumers = kConsumerWarps * 32;
  static constexpr int kThreads = kConsumers + kWarpgroup;  // the last: copies
  static constexpr int kWeightWarp = kConsumerWarps;
  static constexpr int kRowWarp = kConsumerWarps + 1;
  static constexpr int kCluster = 2;  // blocks that share a group of 128 hidden values, and rows
  static constexpr bool kSharesRows = kMaxRows > 32;  // each block copies half of them to both
  static constexpr int kFp8Pitch = kDepth + 16;  // bytes between FP8 rows: eight lanes, all banks
  static constexpr int kFp8BlockBytes = kBlockRows * kFp8Pitch;
  static constexpr int kWeightBytes = 2 * kFp8BlockBytes;
  static constexpr int kRowBytes = kMaxRows * kDepth;
  static constexpr int kScaleBytes = kMaxRows * 4;
  static constexpr int kStageBytes = kWeightBytes + kRowBytes + kScaleBytes;
  static constexpr int kStagingBytes = kMaxRows * kDepth * 2;
  static constexpr int kOtherBytes = 4096 + (kConsumerWarps + 4) * 4 * kMaxRows;
  static constexpr int kSharedBytes = 227 * 1024;
  static constexpr int kStages = (kSharedBytes - kStagingBytes - kOtherBytes - 1024) / kStageBytes;
  static_assert(kStages >= 4 && kMaxRows % kUnitRows == 0 && kMaxRows <= 128);
  static_assert(kWeightBytes >= 2 * kBlockBytes && kWeightBytes % kAtomBytes == 0);
};

/// Shared memory of a block; rows of a stage start on an atom.
template <int kMaxRows>
struct alignas(kAtomBytes) MixtureShared {
  using Config = MixtureConfig<kMaxRows>;
  std::uint8_t rows[Config::kStages][Config::kRowBytes];
  std::uint8_t weights[Config::kStages][Config::kWeightBytes];
  std::uint8_t staging[Config::kStagingBytes];
  float scales[Config::kStages][kMaxRows];
  std::uint32_t warp_max[Config::kConsumerWarps][kMaxRows];
  std::uint32_t peer_max[2][kMaxRows];  // of the other block, for two pieces in turn
  float inverse[kMaxRows];
  uint2 expansion[kMaxShift + 2];
  Barrier full[Config::kStages];
  Barrier empty[Config::kStages];
  Barrier peer[2];
};

/// What a cluster does at a time: 128 hidden values of a tile's rows in phase 0, of which each block makes
/// 64, or 256 outputs in phase 1, of which each makes 128.
struct Piece {
  RowTile rows;
  int tile;
  int item;  // which 128 hidden values, or which 128 outputs of this block
};

/// A cluster's pieces of one phase.
class Pieces {
 public:
  __device__ Pieces(const MixtureArgs& args, int phase)
      : phase_(phase),
        n_blocks_(args.width / kDepth),
        n_items_(phase == 0 ? args.hidden_width / kDepth : (n_blocks_ + 1) / 2),
        shared_cost_(args.is_bound_by_bytes ? 2 : 1),
        shared_units_(args.plan.n_shared_tiles * n_items_ * shared_cost_),
        n_shared_tiles_(args.plan.n_shared_tiles),
        tiles_(args.plan.tiles) {
    const int n_workers = static_cast<int>(gridDim.x) / 2;
    const int worker = static_cast<int>(blockIdx.x) / 2;
    const int n_units = shared_units_ + __ldcg(args.plan.n_routed_tiles) * n_items_;
    const int share = args.is_bound_by_bytes ? (n_units + n_workers - 1) / n_workers : 1;
    step_ = args.is_bound_by_bytes ? 1 : n_workers;
    unit_ = worker * share;
    end_ = args.is_bound_by_bytes ? min(unit_ + share, n_units) : n_units;
  }

  /// False where there is none left.
  __device__ bool next(Piece& piece) {
    for (; unit_ < end_; unit_ += step_) {
      const bool is_shared = unit_ < shared_units_;
      const int within = is_shared ? unit_ : unit_ - shared_units_;
      const int cost = is_shared ? shared_cost_ : 1;
      if (within % cost != 0) continue;  // the second unit of a piece
      const int index = within / cost;
      piece.tile = index / n_items_ + (is_shared ? 0 : n_shared_tiles_);
      piece.item = index % n_items_;
      // An odd number of blocks of outputs: both blocks of the cluster write the last, the same bits.
      if (phase_ == 1) piece.item = min(2 * piece.item + cluster_rank(), n_blocks_ - 1);
      const int* tile = reinterpret_cast<const int*>(tiles_ + piece.tile);
      piece.rows = {__ldcg(tile), __ldcg(tile + 1), __ldcg(tile + 2)};
      unit_ += step_;
      return true;
    }
    return false;
  }

 private:
  int phase_;
  int n_blocks_;
  int n_items_;
  int shared_cost_;
  int shared_units_;
  int n_shared_tiles_;
  const RowTile* tiles_;
  int unit_;
  int end_;
  int step_;
};

}  // namespace precis::cuda
