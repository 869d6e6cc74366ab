// Keys and values of needles.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

#include "eval/draws.h"
#include "eval/words.h"

namespace precis {

/// "rocky-lantern"
inline std::string word_key(Draws& draws) {
  std::string key(draws.pick(key_adjectives()));
  return key + "-" + std::string(draws.pick(key_nouns()));
}

/// A number of `n_digits` digits; the first is not 0.
inline std::string number_value(Draws& draws, int n_digits = 7) {
  std::string digits(1, static_cast<char>('1' + draws.below(9)));
  for (int i = 1; i < n_digits; ++i) digits += static_cast<char>('0' + draws.below(10));
  return digits;
}

/// A UUID of version 4 in its usual spelling.
inline std::string uuid_value(Draws& draws) {
  constexpr std::string_view kHex = "0123456789abcdef";
  constexpr std::string_view kForm = "xxxxxxxx-xxxx-4xxx-vxxx-xxxxxxxxxxxx";
  std::string out;
  for (const char c : kForm) {
    out += c == 'x' ? kHex[draws.below(16)] : c == 'v' ? kHex[8 + draws.below(4)] : c;
  }
  return out;
}

/// Draws until something comes that was not there before.
template <typename Make>
std::string distinct(std::unordered_set<std::string>& seen, Draws& draws, const Make& make) {
  for (;;) {
    std::string one = make(draws);
    if (seen.insert(one).second) return one;
  }
}

}  // namespace precis
