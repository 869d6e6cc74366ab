// The fields of tokenizer.json, in the order of the file: components first, then the model.
#include "text/tokenizer_json.h"

#include <algorithm>
#include <initializer_list>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "text/byte_alphabet.h"

namespace precis {
namespace {

using Json = nlohmann::json;

// A number beyond this is a damaged file, not a vocabulary; it bounds the table indexed by id.
constexpr std::int64_t kMaxTokenId = (1 << 24) - 1;

// The pattern of a ByteLevel pre-tokenizer with use_regex (GPT-2).
constexpr std::string_view kByteLevelRegex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// A field, or null when it is absent.
const Json& member(const Json& object, const char* key) {
  static const Json kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

bool absent(const Json& object, const char* key) {
  return member(object, key).is_null();
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

class SpecReader {
 public:
  explicit SpecReader(std::string name) : name_(std::move(name)) {}

  Result<TokenizerSpec> read(const Json& file) {
    if (!file.is_object()) return corrupt("the file", "an object", shown(file));
    PRECIS_TRY(check_fields(file, "",
                            {"version", "truncation", "padding", "added_tokens", "normalizer",
                             "pre_tokenizer", "post_processor", "decoder", "model"}));
    for (const char* key : {"truncation", "padding"}) {
      if (!absent(file, key)) return unsupported(key, "null", file[key]);
    }
    if (!absent(file, "normalizer")) PRECIS_TRY(check_normalizer(file["normalizer"]));
    PRECIS_TRY(read_pre_tokenizer(member(file, "pre_tokenizer"), "pre_tokenizer"));
    if (!is_byte_level_) {
      return unsupported("pre_tokenizer", "a ByteLevel step", member(file, "pre_tokenizer"));
    }
    PRECIS_TRY(check_post_processor(member(file, "post_processor"), "post_processor"));
    PRECIS_TRY(check_decoder(member(file, "decoder")));
    PRECIS_TRY(read_model(member(file, "model")));
    PRECIS_TRY(read_added_tokens(member(file, "added_tokens")));
    return std::move(spec_);
  }

 private:
  Error corrupt(std::string_view field, std::string_view want, std::string_view found) const {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: {}: want {}, found {}", name_, field, want, found)};
  }
  Error unsupported(std::string_view field, std::string_view want, const Json& found) const {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("{}: {}: want {}, found {}", name_, field, want, shown(found))};
  }

  Result<void> check_fields(const Json& object, std::string_view path,
                            std::initializer_list<std::string_view> known) const {
    if (!object.is_object()) return corrupt(path, "an object", shown(object));
    for (const auto& [key, value] : object.items()) {
      if (std::find(known.begin(), known.end(), key) != known.end()) continue;
      const std::string field = path.empty() ? key : fmt::format("{}.{}", path, key);
      return unsupported(field, "a field that is known", value);
    }
    return {};
  }

  // A boolean that may be left out.
  Result<bool> read_flag(const Json& object, const char* key, std::string_view path,
                         bool if_absent) const {
    if (absent(object, key)) return if_absent;
    if (!object[key].is_boolean()) {
      return corrupt(fmt::format("{}.{}", path, key), "true or false", shown(object[key]));
    }
    return object[key].get<bool>();
  }

  Result<std::string> read_type(const Json& object, std::string_view path) const {
    if (!object.is_object()) return corrupt(path, "an object", shown(object));
    const auto it = object.find("type");
    if (it == object.end() || !it->is_string()) {
      return corrupt(fmt::format("{}.type", path), "a string",
                     it == object.end() ? "nothing" : shown(*it));
    }
    return it->get<std::string>();
  }

  // The list of a Sequence, under the key the kind of component uses.
  Result<const Json*> read_list(const Json& object, const char* key, std::string_view path) const {
    const auto it = object.find(key);
    if (it == object.end() || !it->is_array()) {
      return corrupt(fmt::format("{}.{}", path, key), "an array",
                     it == object.end() ? "nothing" : shown(*it));
    }
    return &*it;
  }

  Result<void> check_normalizer(const Json& normalizer) const {
    PRECIS_ASSIGN_OR_RETURN(const std::string type, read_type(normalizer, "normalizer"));
    if (type != "Sequence") return unsupported("normalizer.type", "an empty Sequence", type);
    PRECIS_ASSIGN_OR_RETURN(const Json* list, read_list(normalizer, "normalizers", "normalizer"));
    if (!list->empty()) return unsupported("normalizer.normalizers", "an empty list", *list);
    return {};
  }

  Result<void> read_pre_tokenizer(const Json& step, const std::string& path) {
    PRECIS_ASSIGN_OR_RETURN(const std::string type, read_type(step, path));
    if (type == "Sequence") {
      PRECIS_TRY(check_fields(step, path, {"type", "pretokenizers"}));
      PRECIS_ASSIGN_OR_RETURN(const Json* list, read_list(step, "pretokenizers", path));
      for (std::size_t i = 0; i < list->size(); ++i) {
        PRECIS_TRY(read_pre_tokenizer((*list)[i], fmt::format("{}.pretokenizers[{}]", path, i)));
      }
      return {};
    }
    // ByteLevel turns text into its alphabet; a rule behind it would see other characters.
    if (is_byte_level_) return unsupported(path, "ByteLevel as the last step", step);
    if (type == "Split") return read_split(step, path);
    if (type == "Digits") return read_digits(step, path);
    if (type == "Punctuation") return read_punctuation(step, path);
    if (type == "ByteLevel") return read_byte_level(step, path);
    return unsupported(path + ".type", "Sequence, Split, Digits, Punctuation or ByteLevel", type);
  }

  Result<void> add_rule(std::string_view regex, SplitBehavior behavior, bool inverted,
                        const std::string& path) {
    auto pattern = Pattern::compile(regex);
    if (!pattern) return std::move(pattern).error().with_context(name_ + ": " + path);
    spec_.split_rules.push_back({std::move(pattern).value(), behavior, inverted});
    return {};
  }

  Result<SplitBehavior> read_behavior(const Json& step, const std::string& path) const {
    constexpr std::pair<std::string_view, SplitBehavior> kBehaviors[] = {
        {"Removed", SplitBehavior::kRemoved},
        {"Isolated", SplitBehavior::kIsolated},
        {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
        {"MergedWithNext", SplitBehavior::kMergedWithNext},
        {"Contiguous", SplitBehavior::kContiguous},
    };
    const Json& found = member(step, "behavior");
    for (const auto& [behavior_name, behavior] : kBehaviors) {
      if (found == behavior_name) return behavior;
    }
    return unsupported(path + ".behavior", "a behaviour that is known", found);
  }

  Result<void> read_split(const Json& step, const std::string& path) {
    PRECIS_TRY(check_fields(step, path, {"type", "pattern", "behavior", "invert"}));
    PRECIS_ASSIGN_OR_RETURN(const SplitBehavior behavior, read_behavior(step, path));
    PRECIS_ASSIGN_OR_RETURN(const bool inverted, read_flag(step, "invert", path, false));
    const Json& pattern = member(step, "pattern");
    PRECIS_TRY(check_fields(pattern, path + ".pattern", {"Regex", "String"}));
    if (pattern.size() != 1 || !pattern.begin()->is_string()) {
      return corrupt(path + ".pattern", "one string under Regex or String", shown(pattern));
    }
    std::string regex = pattern.begin()->get<std::string>();
    if (pattern.contains("String")) regex = quoted(regex);
    return add_rule(regex, behavior, inverted, path + ".pattern");
  }

  // A regular expression for exactly this text.
  static std::string quoted(std::string_view text) {
    std::string regex;
    for (const char c : text) {
      if (std::string_view(R"(\^$.[]|()?*+{}-)").find(c) != std::string_view::npos) regex += '\\';
      regex += c;
    }
    return regex;
  }

  Result<void> read_digits(const Json& step, const std::string& path) {
    PRECIS_TRY(check_fields(step, path, {"type", "individual_digits"}));
    PRECIS_ASSIGN_OR_RETURN(const bool individual,
                            read_flag(step, "individual_digits", path, false));
    // Rust's char::is_numeric is \p{N}.
    return add_rule(R"(\p{N})", individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous,
                    false, path);
  }

  Result<void> read_punctuation(const Json& step, const std::string& path) {
    PRECIS_TRY(check_fields(step, path, {"type", "behavior"}));
    SplitBehavior behavior = SplitBehavior::kIsolated;
    if (!absent(step, "behavior")) {
      PRECIS_ASSIGN_OR_RETURN(behavior, read_behavior(step, path));
    }
    // Punctuation there is Unicode's, and all ASCII punctuation such as '$' and '+'.
    return add_rule(R"([\p{P}$+<=>^`|~])", behavior, false, path);
  }

  Result<void> read_byte_level(const Json& step, const std::string& path) {
    PRECIS_TRY(check_fields(step, path, {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    PRECIS_ASSIGN_OR_RETURN(const bool prefix, read_flag(step, "add_prefix_space", path, true));
    if (prefix) return unsupported(path + ".add_prefix_space", "false", prefix);
    PRECIS_ASSIGN_OR_RETURN(const bool use_regex, read_flag(step, "use_regex", path, true));
    is_byte_level_ = true;
    if (!use_regex) return {};
    return add_rule(kByteLevelRegex, SplitBehavior::kIsolated, false, path);
  }

  // A post-processor may move offsets, which nobody here reads, but must add no tokens.
  Result<void> check_post_processor(const Json& processor, const std::string& path) const {
    if (processor.is_null()) return {};
    PRECIS_ASSIGN_OR_RETURN(const std::string type, read_type(processor, path));
    if (type == "ByteLevel") return {};
    if (type == "Sequence") {
      PRECIS_ASSIGN_OR_RETURN(const Json* list, read_list(processor, "processors", path));
      for (std::size_t i = 0; i < list->size(); ++i) {
        PRECIS_TRY(check_post_processor((*list)[i], fmt::format("{}.processors[{}]", path, i)));
      }
      return {};
    }
    if (type == "TemplateProcessing") {
      PRECIS_ASSIGN_OR_RETURN(const Json* single, read_list(processor, "single", path));
      const bool adds_nothing = single->size() == 1 && (*single)[0].contains("Sequence");
      if (!adds_nothing) return unsupported(path + ".single", "the text alone", *single);
      return {};
    }
    return unsupported(path + ".type", "one that adds no tokens", type);
  }

  Result<void> check_decoder(const Json& decoder) const {
    PRECIS_ASSIGN_OR_RETURN(const std::string type, read_type(decoder, "decoder"));
    if (type != "ByteLevel") return unsupported("decoder.type", "ByteLevel", type);
    return {};
  }

  Result<void> read_model(const Json& model) {
    PRECIS_TRY(check_fields(
        model, "model",
        {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
         "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
    PRECIS_ASSIGN_OR_RETURN(const std::string type, read_type(model, "model"));
    if (type != "BPE") return unsupported("model.type", "BPE", type);
    for (const char* key :
         {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!absent(model, key) && model[key] != "" && model[key] != 0.0) {
        return unsupported(fmt::format("model.{}", key), "null", model[key]);
      }
    }
    PRECIS_ASSIGN_OR_RETURN(const bool ignore_merges,
                            read_flag(model, "ignore_merges", "model", false));
    if (ignore_merges) spec_.whole_words = Bpe::WholeWords::kTakenDirectly;
    PRECIS_TRY(read_vocab(member(model, "vocab")));
    PRECIS_ASSIGN_OR_RETURN(const bool byte_fallback,
                            read_flag(model, "byte_fallback", "model", false));
    if (byte_fallback && !has_all_bytes()) {
      return unsupported("model.byte_fallback", "false, or a token for every byte", true);
    }
    return read_merges(member(model, "merges"));
  }

  // With a token for every byte nothing is left for the fallback to do.
  bool has_all_bytes() const {
    for (int byte = 0; byte < 256; ++byte) {
      if (!spec_.vocab.contains(std::string(1, static_cast<char>(byte)))) return false;
    }
    return true;
  }

  Result<TokenId> read_id(const Json& id, const std::string& field) const {
    if (!id.is_number_integer() || id < 0 || id > kMaxTokenId) {
      return corrupt(field, fmt::format("a number from 0 to {}", kMaxTokenId), shown(id));
    }
    return id.get<TokenId>();
  }

  Result<void> read_vocab(const Json& vocab) {
    if (!vocab.is_object()) return corrupt("model.vocab", "an object", shown(vocab));
    for (const auto& [text, number] : vocab.items()) {
      const std::string field = fmt::format("model.vocab['{}']", text);
      if (text.empty()) return corrupt(field, "a text", "none");
      PRECIS_ASSIGN_OR_RETURN(const TokenId id, read_id(number, field));
      std::optional<std::string> bytes = bytes_from_alphabet(text);
      PRECIS_TRY(set_bytes(id, bytes.value_or(text), field));
      if (bytes) spec_.vocab.emplace(*std::move(bytes), id);
      id_by_text_.emplace(text, id);
    }
    return {};
  }

  Result<void> set_bytes(TokenId id, const std::string& bytes, const std::string& field) {
    const auto idx = static_cast<std::size_t>(id);
    if (idx >= spec_.bytes_by_id.size()) spec_.bytes_by_id.resize(idx + 1);
    if (!spec_.bytes_by_id[idx].empty()) {
      return corrupt(field, "an id of its own", fmt::format("{}, which is taken", id));
    }
    spec_.bytes_by_id[idx] = bytes;
    return {};
  }

  Result<void> read_merges(const Json& merges) {
    if (!merges.is_array()) return corrupt("model.merges", "an array", shown(merges));
    spec_.merges.reserve(merges.size());
    for (std::size_t i = 0; i < merges.size(); ++i) {
      PRECIS_ASSIGN_OR_RETURN(const BpeMerge merge,
                              read_merge(merges[i], fmt::format("model.merges[{}]", i)));
      spec_.merges.push_back(merge);
    }
    return {};
  }

  // Older files write "a b", newer ones ["a", "b"].
  Result<BpeMerge> read_merge(const Json& merge, const std::string& field) const {
    std::string left, right;
    if (merge.is_string()) {
      const std::string text = merge.get<std::string>();
      const std::size_t space = text.find(' ');
      if (space == text.npos || text.find(' ', space + 1) != text.npos) {
        return corrupt(field, "two texts with one space between", shown(merge));
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else {
      return corrupt(field, "a string or a pair of strings", shown(merge));
    }
    BpeMerge ids;
    for (const auto& [text, id] :
         {std::pair<const std::string&, TokenId*>{left, &ids.left}, {right, &ids.right}}) {
      const auto it = id_by_text_.find(text);
      if (it == id_by_text_.end()) return corrupt(field, "texts of the vocabulary", shown(text));
      *id = it->second;
    }
    const auto it = id_by_text_.find(left + right);
    if (it == id_by_text_.end()) return corrupt(field, "a merge into the vocabulary", shown(merge));
    ids.merged = it->second;
    return ids;
  }

  Result<void> read_added_tokens(const Json& tokens) {
    if (tokens.is_null()) return {};
    if (!tokens.is_array()) return corrupt("added_tokens", "an array", shown(tokens));
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      PRECIS_TRY(read_added_token(tokens[i], fmt::format("added_tokens[{}]", i)));
    }
    return {};
  }

  Result<void> read_added_token(const Json& token, const std::string& path) {
    PRECIS_TRY(check_fields(
        token, path,
        {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      PRECIS_ASSIGN_OR_RETURN(const bool flag, read_flag(token, key, path, false));
      if (flag) return unsupported(fmt::format("{}.{}", path, key), "false", flag);
    }
    AddedToken added;
    PRECIS_ASSIGN_OR_RETURN(added.id, read_id(member(token, "id"), path + ".id"));
    PRECIS_ASSIGN_OR_RETURN(added.special, read_flag(token, "special", path, false));
    PRECIS_ASSIGN_OR_RETURN(added.normalized, read_flag(token, "normalized", path, true));
    const Json& content = member(token, "content");
    if (!content.is_string() || content == "") {
      return corrupt(path + ".content", "a text", shown(content));
    }
    added.content = content.get<std::string>();
    const auto it = id_by_text_.find(added.content);
    if (it == id_by_text_.end()) {
      PRECIS_TRY(set_bytes(added.id, bytes_from_alphabet(added.content).value_or(added.content),
                           path + ".id"));
      id_by_text_.emplace(added.content, added.id);
    } else if (it->second != added.id) {
      return corrupt(path + ".id",
                     fmt::format("{}, as '{}' has already", it->second, added.content),
                     std::to_string(added.id));
    }
    spec_.added_tokens.push_back(std::move(added));
    return {};
  }

  std::string name_;
  TokenizerSpec spec_;
  bool is_byte_level_ = false;
  std::unordered_map<std::string, TokenId> id_by_text_;  // as spelled in the file
};

}  // namespace

Result<TokenizerSpec> parse_tokenizer_json(std::string_view json_text, const std::string& name) {
  const Json file = Json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (file.is_discarded()) {
    return Error{ErrorCode::kCorrupt, name + ": want JSON, found text that is not"};
  }
  return SpecReader(name).read(file);
}

}  // namespace precis
