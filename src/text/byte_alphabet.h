// The printable alphabet in which byte-level BPE files spell bytes ("Ġ" is a space).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace precis {

/// The bytes that `text` spells; none when a character is outside the alphabet.
std::optional<std::string> bytes_from_alphabet(std::string_view text);

}  // namespace precis
