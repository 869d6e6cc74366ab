// The trie behind AddedTokens.
#include "text/added_tokens.h"

#include "base/check.h"

namespace precis {

void AddedTokens::add(std::string_view content, TokenId token) {
  PRECIS_CHECK(!content.empty());
  starts_token_[static_cast<std::uint8_t>(content[0])] = true;
  std::int32_t node = 0;
  for (const char byte : content) {
    const auto next = static_cast<std::int32_t>(token_at_.size());
    const auto [it, is_new] = edges_.try_emplace(edge(node, byte), next);
    if (is_new) token_at_.push_back(-1);
    node = it->second;
  }
  token_at_[node] = token;
}

bool AddedTokens::find(std::string_view text, std::size_t from, Match* match) const {
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_token_[static_cast<std::uint8_t>(text[begin])]) continue;
    TokenId token = -1;
    std::size_t end = begin;
    std::int32_t node = 0;
    for (std::size_t i = begin; i < text.size(); ++i) {
      const auto it = edges_.find(edge(node, text[i]));
      if (it == edges_.end()) break;
      node = it->second;
      if (token_at_[node] >= 0) {
        token = token_at_[node];
        end = i + 1;
      }
    }
    if (token >= 0) {
      *match = {begin, end, token};
      return true;
    }
  }
  return false;
}

}  // namespace precis
