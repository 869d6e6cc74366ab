// Finds the texts of added tokens ("<｜User｜>", "<think>") in a text, before any splitting.
//
// Leftmost first, then longest.  A trie keeps the cost at (longest token) steps a position even on
// text made of '<' alone.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "precis/text.h"

namespace precis {

class AddedTokens {
 public:
  struct Match {
    std::size_t begin;
    std::size_t end;
    TokenId token;
  };

  /// Requires  content is not empty
  void add(std::string_view content, TokenId token);

  /// Finds the first match at or after `from`.
  bool find(std::string_view text, std::size_t from, Match* match) const;

 private:
  static std::uint64_t edge(std::int32_t node, char byte) {
    return static_cast<std::uint64_t>(node) << 8 | static_cast<std::uint8_t>(byte);
  }

  std::array<bool, 256> starts_token_{};
  std::unordered_map<std::uint64_t, std::int32_t> edges_;  // (node, byte) → node; the root is 0
  std::vector<TokenId> token_at_ = {-1};                   // per node; -1 = no token ends here
};

}  // namespace precis
