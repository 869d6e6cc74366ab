// JSON with the habits of Python's `json` module, because prompts are compared byte for byte.
//
// Against a general JSON library this keeps: key order (a repeated key keeps its first place and
// its last value), integers of any length, floats printed as Python's repr, NaN and Infinity.
// Text must be UTF-8 without unpaired surrogates, which no prompt could carry.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "precis/status.h"

namespace precis {

class JsonValue;
using JsonArray = std::vector<JsonValue>;
using JsonMember = std::pair<std::string, JsonValue>;
using JsonObject = std::vector<JsonMember>;  // in order of first appearance, keys unique

/// An integer, kept as its decimal digits.
struct JsonInteger {
  std::string digits;
  bool operator==(const JsonInteger&) const = default;
};

class JsonValue {
 public:
  using Storage =
      std::variant<std::nullptr_t, bool, JsonInteger, double, std::string, JsonArray, JsonObject>;

  JsonValue() : storage_(nullptr) {}
  JsonValue(Storage storage) : storage_(std::move(storage)) {}  // NOLINT: implicit
  JsonValue(const char* text) : storage_(std::string(text)) {}  // NOLINT: implicit
  JsonValue(std::string text) : storage_(std::move(text)) {}    // NOLINT: implicit

  const std::string* as_string() const { return std::get_if<std::string>(&storage_); }
  const JsonArray* as_array() const { return std::get_if<JsonArray>(&storage_); }
  const JsonObject* as_object() const { return std::get_if<JsonObject>(&storage_); }
  const bool* as_bool() const { return std::get_if<bool>(&storage_); }
  bool is_null() const { return std::holds_alternative<std::nullptr_t>(storage_); }
  const Storage& storage() const { return storage_; }

  /// The member `key` of an object; null when it is absent or this is no object.
  const JsonValue* find(std::string_view key) const;

  /// Python's truth: false for null, false, zero, "", [] and {}.
  bool is_truthy() const;

  /// What it is, for messages: "null", "a boolean", "a number", "a string", "an array", "an
  /// object".
  std::string_view kind_name() const;

  /// Equality of values; the order of an object's members does not count.
  bool operator==(const JsonValue& other) const;

 private:
  Storage storage_;
};

/// Reads one JSON text as Python's json.loads does.
///
/// Errors    kInvalidArgument — with the byte offset; also nesting beyond 500 levels and integers
///           beyond 4300 digits, near Python's own limits
Result<JsonValue> parse_json(std::string_view text);

/// Writes as json.dumps(value, ensure_ascii=False): separators ", " and ": ".
std::string dump_json(const JsonValue& value);

/// A string as dump_json writes it, quotes included.
std::string dump_json_string(std::string_view text);

/// Appends the inside of a JSON string: dump_json_string without its quotes.
void append_json_escaped(std::string_view text, std::string& out);

/// A float as Python's repr: "1.0", "1e-07", "1e+16", "nan".
std::string python_float_repr(double value);

}  // namespace precis
