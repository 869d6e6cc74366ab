// The layer shapes that operations are measured at, in the letters of docs/glossary.md.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace precis::bench {

/// Whether a model's weights are still in a cache when an operation runs again: those of the
/// bundled model are, those of the releases cannot be.
enum class CacheState : std::uint8_t { kWarm, kCold };

struct ModelShape {
  std::string_view name;
  CacheState cache;
  int d, h, dh, dr, lq, g, lo, k, hi, di, e, a, f, vocab;
};

inline constexpr int kStreams = 4;   // M
inline constexpr int kWindow = 128;  // W
inline constexpr int kSparseRatio = 4;
inline constexpr int kHeavyRatio = 128;

inline constexpr std::array<ModelShape, 3> kModelShapes{{
    {"mini", CacheState::kWarm, 256, 8, 192, 64, 128, 4, 128, 32, 2, 128, 16, 2, 128, 4096},
    {"flash", CacheState::kCold, 4096, 64, 512, 64, 1024, 8, 1024, 512, 64, 128, 256, 6, 2048,
     129280},
    {"pro", CacheState::kCold, 7168, 128, 512, 64, 1536, 16, 1024, 1024, 64, 128, 384, 6, 3072,
     129280},
}};

}  // namespace precis::bench
