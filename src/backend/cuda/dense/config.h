// How a dense product is shared out.  Every choice here changes the time alone: the chain of sums of a
// value is the same in all of them (dense.h).
#pragma once

#include <cstdint>

namespace precis::cuda {

inline constexpr int kSumBlock = 128;        // terms that the tensor cores add by themselves
inline constexpr int kWeightRows = 64;       // of weights: one instruction's
inline constexpr int kTileBytes = 64 * 128;  // a tile's, 128 bytes along k

/// What meets in the tensor cores.
enum class DenseKind : std::uint8_t {
  kFp8,        // e4m3 codes of weights and inputs
  kFp8ByBf16,  // e4m3 codes of weights, expanded to bf16 in registers, and bf16 inputs
  kBf16,       // bf16 weights and inputs
};

/// Tokens of a tile while one tile holds all of them, and the unit of padding above that.
constexpr int tile_tokens(int n_tokens) {
  return n_tokens <= 8 ? 8 : n_tokens <= 16 ? 16 : n_tokens <= 32 ? 32 : n_tokens <= 64 ? 64 : 256;
}

/// A tile of weights' rows by tokens, and the ring of stages that feeds it.
template <DenseKind kTheKind, int kTheTokens>
struct DenseConfig {
  static constexpr DenseKind kKind = kTheKind;
  static constexpr int kTokens = kTheTokens;
  static constexpr bool kIsLarge = kTokens > 64;

  // 64 rows each.  Two of them keep the tensor cores busy: one adds its block while the other multiplies.
  static constexpr int kConsumers = kIsLarge ? 2 : 1;
  static_assert(kTokens <= 128, "sums of a block and of all blocks fit the registers");
  // Blocks along k of a stage: with few tokens a block is too short to wait for each.
  static constexpr int kBatch = kIsLarge ? 1 : kKind == DenseKind::kFp8 ? 4 : 2;
  // Blocks of threads that share the input's tiles by multicast.
  static constexpr int kCluster = kIsLarge ? 2 : 1;

  // Tiles of 128 bytes along k that hold a block of 128 values.
  static constexpr int kWeightTiles = kKind == DenseKind::kBf16 ? 2 : 1;
  static constexpr int kInputTiles = kKind == DenseKind::kFp8 ? 1 : 2;

  static constexpr int kInputTileBytes = kTokens * 128;
  static constexpr int kWeightBytes = kConsumers * kBatch * kWeightTiles * kTileBytes;
  static constexpr int kInputBytes = kBatch * kInputTiles * kInputTileBytes;
  static constexpr int kScaleBytes = kKind == DenseKind::kFp8 ? kBatch * kTokens * 4 : 0;
  static constexpr int kStageBytes =
      kWeightBytes + kInputBytes + (kScaleBytes + 1023) / 1024 * 1024;
  static constexpr int kStages = (226 * 1024) / kStageBytes < 12 ? (226 * 1024) / kStageBytes : 12;
  static constexpr int kSharedBytes = kStages * kStageBytes + 1024;  // aligned by hand

  // A small product runs one warp as producer; a large one a warpgroup, whose registers it gives away.
  static constexpr int kThreads = kConsumers * 128 + (kIsLarge ? 128 : 32);
  // Together no more than the block was launched with, or the consumers wait for ever: 168 a thread.
  static constexpr int kConsumerRegisters = 224;
  static constexpr int kProducerRegisters = 56;
};

}  // namespace precis::cuda
