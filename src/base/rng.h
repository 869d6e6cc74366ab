// Counter-based random numbers: the value at (seed, index) is a pure function of both, so every
// backend, thread count and restart draws the same.
#pragma once

#include <cstdint>

namespace precis {

/// 64 random bits for draw `index` of the stream `seed`.
///
/// Source    SplitMix64's finaliser (Steele, Lea, Flood 2014) over two mixed words
constexpr std::uint64_t random_bits(std::uint64_t seed, std::uint64_t index) {
  auto mix = [](std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  };
  return mix(mix(seed + 0x9E3779B97F4A7C15ULL) ^ (index * 0xD1B54A32D192ED03ULL + 1));
}

/// A double in [0, 1) with 53 random bits.
constexpr double random_unit(std::uint64_t seed, std::uint64_t index) {
  return static_cast<double>(random_bits(seed, index) >> 11) * 0x1p-53;
}

}  // namespace precis
