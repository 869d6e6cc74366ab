// Words of which keys and values are made.
#pragma once

#include <span>
#include <string_view>

namespace precis {

/// Sorted, distinct.
std::span<const std::string_view> key_nouns();
std::span<const std::string_view> key_adjectives();

}  // namespace precis
