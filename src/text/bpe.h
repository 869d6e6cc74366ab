// Byte-pair encoding of one piece of text.
//
// Starts from single bytes and always applies the merge of lowest rank, the leftmost of equals.
// Pieces come from the pre-tokenizer; what is a token of its own (added tokens) never gets here.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "precis/text.h"

namespace precis {

/// Lets maps keyed by strings be searched by views.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};

using TokensByBytes = std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>>;

struct BpeMerge {
  TokenId left;
  TokenId right;
  TokenId merged;
};

class Bpe {
 public:
  enum class WholeWords : std::uint8_t {
    kByMerges,       // a piece that is a token must still be reached by merges
    kTakenDirectly,  // `ignore_merges`: such a piece is that token
  };

  Bpe() = default;

  /// `merges` are in order of rank; of a pair that occurs twice the later rank counts.
  Bpe(TokensByBytes vocab, std::span<const BpeMerge> merges, WholeWords whole_words);

  /// Appends the tokens of `piece`.  A byte that is no token is left out.
  ///
  /// Cost      n log n for n bytes
  void encode(std::string_view piece, std::vector<TokenId>& out) const;

  const TokensByBytes& vocab() const { return vocab_; }

 private:
  struct Merge {
    std::int32_t rank;
    TokenId merged;
  };
  const Merge* find_merge(TokenId left, TokenId right) const;

  TokensByBytes vocab_;
  std::array<TokenId, 256> byte_tokens_{};  // -1 where a byte is no token
  std::vector<std::uint64_t> merge_keys_;   // open addressing, a power of two long
  std::vector<Merge> merge_values_;
  WholeWords whole_words_ = WholeWords::kByMerges;
};

}  // namespace precis
