// The merge loop: a linked list of symbols and a heap of candidate merges, so that a megabyte of
// one letter costs n log n.
#include "text/bpe.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace precis {
namespace {

constexpr std::uint64_t kNoKey = ~std::uint64_t{0};

std::uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

std::size_t hash_key(std::uint64_t key) {
  key *= 0x9E3779B97F4A7C15u;  // Fibonacci hashing; the high bits are the mixed ones
  return static_cast<std::size_t>(key >> 32);
}

struct Symbol {
  TokenId token;  // -1 once merged into its left neighbour
  std::int32_t previous;
  std::int32_t next;
};

struct Candidate {
  std::int32_t rank;
  std::int32_t position;  // of the left symbol
  TokenId left;           // the pair this was computed for: symbols may have changed since
  TokenId right;
  TokenId merged;

  // std::push_heap keeps the largest on top: the largest is the lowest rank, then the leftmost.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

}  // namespace

Bpe::Bpe(TokensByBytes vocab, std::span<const BpeMerge> merges, WholeWords whole_words)
    : vocab_(std::move(vocab)), whole_words_(whole_words) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto it = vocab_.find(std::string(1, static_cast<char>(byte)));
    byte_tokens_[byte] = it == vocab_.end() ? -1 : it->second;
  }
  const std::size_t n_slots = std::bit_ceil(std::max<std::size_t>(16, merges.size() * 2));
  merge_keys_.assign(n_slots, kNoKey);
  merge_values_.resize(n_slots);
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const std::uint64_t key = pair_key(merges[rank].left, merges[rank].right);
    std::size_t slot = hash_key(key) & (n_slots - 1);
    while (merge_keys_[slot] != kNoKey && merge_keys_[slot] != key) {
      slot = (slot + 1) & (n_slots - 1);
    }
    merge_keys_[slot] = key;
    merge_values_[slot] = {static_cast<std::int32_t>(rank), merges[rank].merged};
  }
}

const Bpe::Merge* Bpe::find_merge(TokenId left, TokenId right) const {
  const std::uint64_t key = pair_key(left, right);
  const std::size_t mask = merge_keys_.size() - 1;
  for (std::size_t slot = hash_key(key) & mask; merge_keys_[slot] != kNoKey;
       slot = (slot + 1) & mask) {
    if (merge_keys_[slot] == key) return &merge_values_[slot];
  }
  return nullptr;
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (whole_words_ == WholeWords::kTakenDirectly) {
    if (const auto it = vocab_.find(piece); it != vocab_.end()) {
      out.push_back(it->second);
      return;
    }
  }
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (const char c : piece) {
    const TokenId token = byte_tokens_[static_cast<std::uint8_t>(c)];
    if (token < 0) continue;
    const auto here = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({token, here - 1, here + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  std::vector<Candidate> heap;
  const auto consider = [&](std::int32_t left) {
    const std::int32_t right = left < 0 ? -1 : symbols[left].next;
    if (right < 0) return;
    const Merge* merge = find_merge(symbols[left].token, symbols[right].token);
    if (merge == nullptr) return;
    heap.push_back({merge->rank, left, symbols[left].token, symbols[right].token, merge->merged});
    std::push_heap(heap.begin(), heap.end());
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<std::int32_t>(i));

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate candidate = heap.back();
    heap.pop_back();
    Symbol& left = symbols[candidate.position];
    if (left.token != candidate.left || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    if (right.token != candidate.right) continue;
    left.token = candidate.merged;
    right.token = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = candidate.position;
    consider(left.previous);
    consider(candidate.position);
  }
  for (std::int32_t i = 0; i >= 0; i = symbols[i].next) out.push_back(symbols[i].token);
}

}  // namespace precis
