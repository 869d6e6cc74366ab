// Recognises one DSML tag at the start of a text, in the official form or a damaged one.
//
// Forgiven: ASCII or doubled bars, spaces, the '/' of a closing tag behind the bars.  The caller
// decides what a tag of some name means where it stands.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace precis {

struct DsmlTag {
  enum class Element : std::uint8_t { kBlock, kInvoke, kParameter };

  Element element = Element::kBlock;  // any name but "invoke" and "parameter" is a block's
  bool is_closing = false;
  bool is_regular = false;  // exactly as the official encoder writes it
  std::optional<std::string> name_attribute;
  std::optional<std::string> string_attribute;
  std::size_t n_bytes = 0;
};

enum class TagMatch : std::uint8_t {
  kNone,     // no tag stands here, whatever follows
  kPartial,  // more text decides
  kTag,
};

/// Requires  text starts with '<' and is valid UTF-8
TagMatch match_dsml_tag(std::string_view text, DsmlTag* tag);

}  // namespace precis
