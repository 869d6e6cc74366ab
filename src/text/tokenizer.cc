// The public Tokenizer: added tokens first, then splitting, then BPE with a memory of words.
#include <fstream>
#include <mutex>
#include <sstream>

#include <fmt/format.h>

#include "precis/text.h"

#include "base/check.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace precis {
namespace {

// Natural text repeats its words: with the memory, most pieces cost one hash look-up.
constexpr std::size_t kMaxRememberedBytes = 48;
constexpr std::size_t kMaxRememberedPieces = 1 << 16;

// What one call to encode() works with.  Calls take one from the shelf and put it back, so that
// words stay remembered and threads never wait for each other while they work.
struct EncodeScratch {
  MatchScratch match;
  Pieces pieces;
  std::unordered_map<std::string, std::vector<TokenId>, StringHash, std::equal_to<>> remembered;
};

}  // namespace

struct Tokenizer::Tables {
  Bpe bpe;
  std::vector<SplitRule> split_rules;
  AddedTokens raw_added;         // looked for first
  AddedTokens normalized_added;  // looked for in what is left
  std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>> added_by_content;
  std::vector<std::string> bytes_by_id;
  std::vector<bool> special_by_id;

  mutable std::mutex shelf_mutex;
  mutable std::vector<std::unique_ptr<EncodeScratch>> shelf;

  std::unique_ptr<EncodeScratch> take_scratch() const {
    {
      const std::lock_guard lock(shelf_mutex);
      if (!shelf.empty()) {
        auto scratch = std::move(shelf.back());
        shelf.pop_back();
        return scratch;
      }
    }
    return std::make_unique<EncodeScratch>();
  }

  void put_back(std::unique_ptr<EncodeScratch> scratch) const {
    const std::lock_guard lock(shelf_mutex);
    shelf.push_back(std::move(scratch));
  }

  void encode_plain(std::string_view text, EncodeScratch& scratch,
                    std::vector<TokenId>& out) const {
    split_text(split_rules, text, scratch.match, scratch.pieces);
    for (const std::string_view piece : scratch.pieces) {
      if (piece.size() > kMaxRememberedBytes) {
        bpe.encode(piece, out);
        continue;
      }
      auto it = scratch.remembered.find(piece);
      if (it == scratch.remembered.end()) {
        if (scratch.remembered.size() >= kMaxRememberedPieces) scratch.remembered.clear();
        std::vector<TokenId> tokens;
        bpe.encode(piece, tokens);
        it = scratch.remembered.emplace(piece, std::move(tokens)).first;
      }
      out.insert(out.end(), it->second.begin(), it->second.end());
    }
  }

  // Cuts `text` at the tokens of `added`; the stretches between go to `between`.
  template <typename Between>
  void cut_at(const AddedTokens& added, std::string_view text, std::vector<TokenId>& out,
              Between between) const {
    std::size_t covered = 0;
    AddedTokens::Match match;
    while (added.find(text, covered, &match)) {
      between(text.substr(covered, match.begin - covered));
      out.push_back(match.token);
      covered = match.end;
    }
    between(text.substr(covered));
  }
};

Result<Tokenizer> Tokenizer::load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return Error{ErrorCode::kNotFound, fmt::format("{}: want a tokenizer.json, found no file that "
                                                   "can be opened",
                                                   path)};
  }
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad() || text.fail()) {
    return Error{ErrorCode::kIo, fmt::format("{}: want the whole file, found a read error", path)};
  }
  return parse(text.view(), path);
}

Result<Tokenizer> Tokenizer::parse(std::string_view json_text, const std::string& name) {
  PRECIS_ASSIGN_OR_RETURN(TokenizerSpec spec, parse_tokenizer_json(json_text, name));
  auto tables = std::make_shared<Tables>();
  tables->bpe = Bpe(std::move(spec.vocab), spec.merges, spec.whole_words);
  tables->split_rules = std::move(spec.split_rules);
  tables->bytes_by_id = std::move(spec.bytes_by_id);
  tables->special_by_id.resize(tables->bytes_by_id.size(), false);
  for (const AddedToken& added : spec.added_tokens) {
    (added.normalized ? tables->normalized_added : tables->raw_added).add(added.content, added.id);
    tables->added_by_content.emplace(added.content, added.id);
    tables->special_by_id[static_cast<std::size_t>(added.id)] = added.special;
  }
  return Tokenizer(std::move(tables));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  std::string replaced;
  if (!utf8::is_valid(text)) {
    utf8::append_lossy(text, replaced);
    text = replaced;
  }
  std::vector<TokenId> tokens;
  auto scratch = tables_->take_scratch();
  const auto plain = [&](std::string_view stretch) {
    tables_->encode_plain(stretch, *scratch, tokens);
  };
  if (special == SpecialTokens::kAsText) {
    plain(text);
  } else {
    tables_->cut_at(tables_->raw_added, text, tokens, [&](std::string_view stretch) {
      tables_->cut_at(tables_->normalized_added, stretch, tokens, plain);
    });
  }
  tables_->put_back(std::move(scratch));
  return tokens;
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, SpecialOutput special) const {
  std::string bytes;
  for (const TokenId token : tokens) {
    if (special == SpecialOutput::kSkip && is_special(token)) continue;
    bytes += token_bytes(token);
  }
  if (utf8::is_valid(bytes)) return bytes;
  std::string text;
  utf8::append_lossy(bytes, text);
  return text;
}

std::string_view Tokenizer::token_bytes(TokenId id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return tables_->bytes_by_id[static_cast<std::size_t>(id)];
}

std::optional<TokenId> Tokenizer::token_id(std::string_view content) const {
  if (const auto it = tables_->added_by_content.find(content);
      it != tables_->added_by_content.end()) {
    return it->second;
  }
  const TokensByBytes& vocab = tables_->bpe.vocab();
  const auto it = vocab.find(content);
  return it == vocab.end() ? std::nullopt : std::optional(it->second);
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && id < vocab_size() && tables_->special_by_id[static_cast<std::size_t>(id)];
}

int Tokenizer::vocab_size() const {
  return static_cast<int>(tables_->bytes_by_id.size());
}

}  // namespace precis
