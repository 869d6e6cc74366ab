// JSON in and out of the commands; parse errors become Error values.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "precis/status.h"

namespace precis::cli {

using Json = nlohmann::ordered_json;

/// Writes `value` to stdout, indented, with a newline.  Broken UTF-8 becomes U+FFFD and numbers
/// that JSON cannot hold become null.
void print_json(const Json& value);

/// Errors    kInvalidArgument — `text` is not JSON; the message says where and names `source`
Result<Json> parse_json(std::string_view text, std::string_view source);

/// The string field `key` of an object.
///
/// Errors    kInvalidArgument — `value` is no object, or lacks the field, or it is no string
Result<std::string> string_field(const Json& value, const char* key, std::string_view source);

}  // namespace precis::cli
