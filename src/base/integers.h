// Whole-number arithmetic that the language lacks.
#pragma once

#include <concepts>
#include <type_traits>

namespace precis {

/// The least whole number that is not below n / by.
///
/// Requires  n >= 0, by > 0, n + by − 1 representable
template <std::integral T>
constexpr T ceil_div(T n, std::type_identity_t<T> by) {
  return (n + by - 1) / by;
}

/// The least multiple of `by` that is not below n.
template <std::integral T>
constexpr T round_up(T n, std::type_identity_t<T> by) {
  return ceil_div(n, by) * by;
}

}  // namespace precis
