#include "text/bpe.h"

#include <random>

#include <gtest/gtest.h>

namespace precis {
namespace {

// The definition: apply the merge of lowest rank, leftmost first, until none applies.
std::vector<TokenId> encode_by_definition(std::vector<TokenId> tokens,
                                          const std::vector<BpeMerge>& merges) {
  while (true) {
    std::size_t best_rank = merges.size(), best_pos = 0;
    for (std::size_t pos = 0; pos + 1 < tokens.size(); ++pos) {
      for (std::size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank].left == tokens[pos] && merges[rank].right == tokens[pos + 1]) {
          best_rank = rank;
          best_pos = pos;
        }
      }
    }
    if (best_rank == merges.size()) return tokens;
    tokens[best_pos] = merges[best_rank].merged;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(best_pos) + 1);
  }
}

TEST(Bpe, FollowsTheDefinitionOnRandomMerges) {
  std::mt19937 rng(3);
  for (int round = 0; round < 200; ++round) {
    TokensByBytes vocab{{"a", 0}, {"b", 1}, {"c", 2}};
    std::vector<std::string> text_of{"a", "b", "c"};
    std::vector<BpeMerge> merges;
    for (int i = 0; i < 8; ++i) {
      const auto left = static_cast<TokenId>(rng() % text_of.size());
      const auto right = static_cast<TokenId>(rng() % text_of.size());
      const std::string joined = text_of[left] + text_of[right];
      if (vocab.contains(joined)) continue;
      const auto merged = static_cast<TokenId>(text_of.size());
      vocab.emplace(joined, merged);
      text_of.push_back(joined);
      merges.push_back({left, right, merged});
    }
    std::shuffle(merges.begin(), merges.end(), rng);
    const Bpe bpe(vocab, merges, Bpe::WholeWords::kByMerges);
    std::string text;
    std::vector<TokenId> bytes;
    for (unsigned i = 0; i < rng() % 40; ++i) {
      bytes.push_back(static_cast<TokenId>(rng() % 3));
      text += text_of[bytes.back()];
    }
    std::vector<TokenId> got;
    bpe.encode(text, got);
    ASSERT_EQ(got, encode_by_definition(bytes, merges)) << text;
  }
}

TEST(Bpe, AWholeWordIsTakenDirectlyOnlyWhenAsked) {
  const TokensByBytes vocab{{"a", 0}, {"b", 1}, {"ab", 2}};
  std::vector<TokenId> got;
  Bpe(vocab, {}, Bpe::WholeWords::kByMerges).encode("ab", got);
  EXPECT_EQ(got, (std::vector<TokenId>{0, 1}));
  got.clear();
  Bpe(vocab, {}, Bpe::WholeWords::kTakenDirectly).encode("ab", got);
  EXPECT_EQ(got, (std::vector<TokenId>{2}));
}

TEST(Bpe, ABytePairThatOccursTwiceHasItsLaterRank) {
  const TokensByBytes vocab{{"a", 0}, {"b", 1}, {"ab", 2}, {"ba", 3}};
  const std::vector<BpeMerge> merges{{0, 1, 2}, {1, 0, 3}, {0, 1, 2}};
  std::vector<TokenId> got;
  Bpe(vocab, merges, Bpe::WholeWords::kByMerges).encode("aba", got);
  EXPECT_EQ(got, (std::vector<TokenId>{0, 3}));
}

TEST(Bpe, BytesWithoutATokenAreLeftOut) {
  std::vector<TokenId> got;
  Bpe({{"a", 0}}, {}, Bpe::WholeWords::kByMerges).encode("xax", got);
  EXPECT_EQ(got, (std::vector<TokenId>{0}));
}

}  // namespace
}  // namespace precis
