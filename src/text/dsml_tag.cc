// A hand-written reader of one tag; every place where the text may end is a kPartial.
#include "text/dsml_tag.h"

#include "base/check.h"
#include "text/prompt_text.h"

namespace precis {
namespace {

// Nothing longer is waited for: a tag that never ends must not hold back the rest of a reply.
constexpr std::size_t kMaxTagBytes = 1024;

constexpr std::string_view kBar = "｜";

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

class TagReader {
 public:
  explicit TagReader(std::string_view text) : text_(text.substr(0, kMaxTagBytes)) {}

  TagMatch read(DsmlTag* tag) {
    PRECIS_DCHECK(text_[0] == '<');
    pos_ = 1;
    skip_spaces();
    tag->is_closing = take("/");
    if (!take_bars() || !take("DSML") || !take_bars()) return undecided_or_none();
    skip_spaces();
    if (take("/")) tag->is_closing = true;
    skip_spaces();
    const std::string_view name = take_name();
    if (name.empty()) return undecided_or_none();
    tag->element = element_of(name);
    while (true) {
      skip_spaces();
      if (take(">")) break;
      if (!take_attribute(tag)) return undecided_or_none();
    }
    tag->n_bytes = pos_;
    tag->is_regular = text_.substr(0, pos_) == official_form(*tag);
    return TagMatch::kTag;
  }

 private:
  // The tag stopped making sense at pos_; if that is the end of the text, more may follow.
  TagMatch undecided_or_none() const {
    return pos_ >= text_.size() && text_.size() < kMaxTagBytes ? TagMatch::kPartial
                                                               : TagMatch::kNone;
  }

  static DsmlTag::Element element_of(std::string_view name) {
    if (name == "invoke") return DsmlTag::Element::kInvoke;
    if (name == "parameter") return DsmlTag::Element::kParameter;
    return DsmlTag::Element::kBlock;
  }

  static std::string official_form(const DsmlTag& tag) {
    using namespace prompt_text;
    std::string form;
    switch (tag.element) {
      case DsmlTag::Element::kBlock:
        return tag.is_closing ? std::string(kToolCallsClose) : std::string(kToolCallsOpen) + ">";
      case DsmlTag::Element::kInvoke: form = tag.is_closing ? kInvokeClose : kInvokeOpen; break;
      case DsmlTag::Element::kParameter:
        if (tag.is_closing) return std::string(kParameterClose);
        form = kParameterOpen;
        break;
    }
    if (tag.name_attribute) form += " name=\"" + *tag.name_attribute + "\"";
    if (tag.string_attribute) form += " string=\"" + *tag.string_attribute + "\"";
    return form + ">";
  }

  void skip_spaces() {
    while (pos_ < text_.size() && is_space(text_[pos_])) ++pos_;
  }

  // On failure pos_ is where the text departs from `word`, the end of the text if it only ends.
  bool take(std::string_view word) {
    for (std::size_t i = 0; i < word.size(); ++i) {
      if (pos_ + i >= text_.size()) {
        pos_ = text_.size();
        return false;
      }
      if (text_[pos_ + i] != word[i]) return false;
    }
    pos_ += word.size();
    return true;
  }

  bool take_bars() {
    bool any = false;
    while (pos_ < text_.size()) {
      const std::size_t start = pos_;
      if (take("|") || take(kBar)) {
        any = true;
        continue;
      }
      pos_ = start;
      break;
    }
    return any;
  }

  std::string_view take_name() {
    const std::size_t start = pos_;
    while (pos_ < text_.size() && is_name_char(text_[pos_])) ++pos_;
    return text_.substr(start, pos_ - start);
  }

  bool take_attribute(DsmlTag* tag) {
    const std::string_view key = take_name();
    if (key.empty()) return false;
    skip_spaces();
    if (!take("=")) return false;
    skip_spaces();
    if (!take("\"")) return false;
    const std::size_t end = text_.find('"', pos_);
    if (end == text_.npos) {
      pos_ = text_.size();
      return false;
    }
    const std::string value(text_.substr(pos_, end - pos_));
    pos_ = end + 1;
    if (key == "name") tag->name_attribute = value;
    if (key == "string") tag->string_attribute = value;
    return true;
  }

  std::string_view text_;
  std::size_t pos_ = 0;
};

}  // namespace

TagMatch match_dsml_tag(std::string_view text, DsmlTag* tag) {
  *tag = DsmlTag();
  return TagReader(text).read(tag);
}

}  // namespace precis
