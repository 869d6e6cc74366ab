// A stream of draws over the counter-based generator: equal on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"

namespace precis {

/// Mixes the names of a thing ("niah", 4096, sample 3) into the seed of its own stream.
constexpr std::uint64_t stream_seed(std::uint64_t seed, std::string_view name,
                                    std::uint64_t number = 0) {
  for (const char c : name) seed = random_bits(seed, static_cast<unsigned char>(c));
  return random_bits(seed, number);
}

class Draws {
 public:
  explicit Draws(std::uint64_t seed) : seed_(seed) {}

  std::uint64_t bits() { return random_bits(seed_, index_++); }
  double unit() { return random_unit(seed_, index_++); }

  /// Uniform in 0 … n − 1; the bias of the product is below n / 2⁶⁴.
  std::uint64_t below(std::uint64_t n) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>((static_cast<Wide>(bits()) * n) >> 64);
  }

  /// Requires  first <= last
  std::int64_t between(std::int64_t first, std::int64_t last) {
    return first + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(last - first + 1)));
  }

  template <typename List>
  const auto& pick(const List& list) {
    return list[below(std::size(list))];
  }

  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

  /// `n` distinct numbers of 0 … n_of − 1, ascending.
  ///
  /// Requires  n <= n_of
  std::vector<std::size_t> choose(std::size_t n, std::size_t n_of) {
    std::vector<std::size_t> chosen;
    chosen.reserve(n);
    for (std::size_t i = 0; i < n_of && chosen.size() < n; ++i) {
      if (below(n_of - i) < n - chosen.size()) chosen.push_back(i);
    }
    return chosen;
  }

 private:
  std::uint64_t seed_;
  std::uint64_t index_ = 0;
};

}  // namespace precis
