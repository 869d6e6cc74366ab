// Parsing and printing of JSON as CPython 3.11 does it (Lib/json, Modules/_json.c).
#include "text/python_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "text/utf8.h"

namespace precis {
namespace {

constexpr int kMaxDepth = 500;
constexpr std::size_t kMaxIntegerDigits = 4300;  // sys.get_int_max_str_digits()

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<JsonValue> parse_document() {
    PRECIS_ASSIGN_OR_RETURN(JsonValue value, parse_value(0));
    skip_space();
    if (pos_ != text_.size()) return fail("one JSON value, found more text");
    return value;
  }

 private:
  Error fail(std::string_view wanted) const {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("JSON at byte {}: want {}", pos_, wanted)};
  }

  void skip_space() {
    while (pos_ < text_.size() && std::string_view(" \t\n\r").find(text_[pos_]) != text_.npos) {
      ++pos_;
    }
  }

  bool take(std::string_view word) {
    if (!text_.substr(pos_).starts_with(word)) return false;
    pos_ += word.size();
    return true;
  }

  Result<JsonValue> parse_value(int depth) {
    if (depth > kMaxDepth) return fail(fmt::format("at most {} levels of nesting", kMaxDepth));
    skip_space();
    if (pos_ == text_.size()) return fail("a value, found the end");
    switch (text_[pos_]) {
      case '{': return parse_object(depth);
      case '[': return parse_array(depth);
      case '"': {
        PRECIS_ASSIGN_OR_RETURN(std::string text, parse_string());
        return JsonValue(std::move(text));
      }
      default: break;
    }
    if (take("null")) return JsonValue();
    if (take("true")) return JsonValue(JsonValue::Storage(true));
    if (take("false")) return JsonValue(JsonValue::Storage(false));
    if (take("NaN")) return JsonValue(JsonValue::Storage(std::nan("")));
    if (take("Infinity")) return JsonValue(JsonValue::Storage(HUGE_VAL));
    if (take("-Infinity")) return JsonValue(JsonValue::Storage(-HUGE_VAL));
    return parse_number();
  }

  Result<JsonValue> parse_object(int depth) {
    JsonObject members;
    ++pos_;
    skip_space();
    if (take("}")) return JsonValue(JsonValue::Storage(std::move(members)));
    while (true) {
      skip_space();
      if (pos_ == text_.size() || text_[pos_] != '"') return fail("a key in double quotes");
      PRECIS_ASSIGN_OR_RETURN(std::string key, parse_string());
      skip_space();
      if (!take(":")) return fail("':' after a key");
      PRECIS_ASSIGN_OR_RETURN(JsonValue value, parse_value(depth + 1));
      members.emplace_back(std::move(key), std::move(value));
      skip_space();
      if (take("}")) break;
      if (!take(",")) return fail("',' or '}' in an object");
    }
    return JsonValue(JsonValue::Storage(without_repeats(std::move(members))));
  }

  // Sorting instead of one search a key keeps an object of many keys from costing a square.
  static JsonObject without_repeats(JsonObject members) {
    std::vector<std::size_t> order(members.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return members[a].first < members[b].first;
    });
    std::vector<bool> repeated(members.size(), false);
    for (std::size_t i = 1, first = 0; i < order.size(); ++i) {
      if (members[order[i]].first != members[order[first]].first) {
        first = i;
        continue;
      }
      members[order[first]].second = std::move(members[order[i]].second);
      repeated[order[i]] = true;
    }
    JsonObject unique;
    unique.reserve(members.size());
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (!repeated[i]) unique.push_back(std::move(members[i]));
    }
    return unique;
  }

  Result<JsonValue> parse_array(int depth) {
    JsonArray items;
    ++pos_;
    skip_space();
    if (take("]")) return JsonValue(JsonValue::Storage(std::move(items)));
    while (true) {
      PRECIS_ASSIGN_OR_RETURN(JsonValue value, parse_value(depth + 1));
      items.push_back(std::move(value));
      skip_space();
      if (take("]")) return JsonValue(JsonValue::Storage(std::move(items)));
      if (!take(",")) return fail("',' or ']' in an array");
    }
  }

  Result<JsonValue> parse_number() {
    const std::size_t start = pos_;
    std::size_t end = pos_;
    const auto peek = [&](std::size_t i) { return i < text_.size() ? text_[i] : '\0'; };
    if (peek(end) == '-') ++end;
    if (!is_digit(peek(end))) return fail("a value");
    if (peek(end) == '0') {
      ++end;
    } else {
      while (is_digit(peek(end))) ++end;
    }
    const std::size_t integer_end = end;
    if (peek(end) == '.' && is_digit(peek(end + 1))) {
      ++end;
      while (is_digit(peek(end))) ++end;
    }
    if (peek(end) == 'e' || peek(end) == 'E') {
      std::size_t exponent = end + 1;
      if (peek(exponent) == '+' || peek(exponent) == '-') ++exponent;
      if (is_digit(peek(exponent))) {
        end = exponent;
        while (is_digit(peek(end))) ++end;
      }
    }
    if (end == integer_end && end - start > kMaxIntegerDigits) {
      return fail(fmt::format("an integer of at most {} digits", kMaxIntegerDigits));
    }
    const std::string_view number = text_.substr(start, end - start);
    pos_ = end;
    if (end == integer_end) {
      return JsonValue(JsonValue::Storage(JsonInteger{number == "-0" ? "0" : std::string(number)}));
    }
    return JsonValue(JsonValue::Storage(to_double(number)));
  }

  static double to_double(std::string_view number) {
    double value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc::result_out_of_range) return value;
    // from_chars leaves the value untouched beyond the range; strtod, as Python, rounds to an
    // infinity or to zero.
    return std::strtod(std::string(number).c_str(), nullptr);
  }

  Result<std::string> parse_string() {
    std::string out;
    ++pos_;
    while (true) {
      if (pos_ == text_.size()) return fail("'\"' at the end of a string");
      const char c = text_[pos_];
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) return fail("no control character in a string");
      if (c == '\\') {
        ++pos_;
        PRECIS_TRY(parse_escape(out));
      } else {
        out += c;
        ++pos_;
      }
    }
    ++pos_;
    return out;
  }

  Result<void> parse_escape(std::string& out) {
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (pos_ == text_.size()) return fail("a character after '\\'");
    const char letter = text_[pos_++];
    if (const std::size_t i = kLetters.find(letter); i != kLetters.npos) {
      out += kMeanings[i];
      return {};
    }
    if (letter != 'u') return fail("an escape that JSON has");
    std::optional<char32_t> unit = take_hex4();
    if (!unit) return fail("four hexadecimal digits after '\\u'");
    if (*unit >= 0xD800 && *unit < 0xDC00 && take("\\u")) {
      const std::optional<char32_t> low = take_hex4();
      if (!low || *low < 0xDC00 || *low > 0xDFFF)
        return fail("the second half of a surrogate pair");
      unit = 0x10000 + ((*unit - 0xD800) << 10) + (*low - 0xDC00);
    }
    if (*unit >= 0xD800 && *unit < 0xE000) return fail("no unpaired surrogate");
    utf8::append(*unit, out);
    return {};
  }

  std::optional<char32_t> take_hex4() {
    if (pos_ + 4 > text_.size()) return std::nullopt;
    unsigned value = 0;
    const char* start = text_.data() + pos_;
    const auto [end, error] = std::from_chars(start, start + 4, value, 16);
    if (error != std::errc() || end != start + 4) return std::nullopt;
    pos_ += 4;
    return value;
  }

  std::string_view text_;
  std::size_t pos_ = 0;
};

void dump(const JsonValue& value, std::string& out);

struct Dumper {
  std::string& out;

  void operator()(std::nullptr_t) const { out += "null"; }
  void operator()(bool flag) const { out += flag ? "true" : "false"; }
  void operator()(const JsonInteger& integer) const { out += integer.digits; }
  void operator()(double number) const {
    if (std::isnan(number)) {
      out += "NaN";
    } else if (std::isinf(number)) {
      out += number < 0 ? "-Infinity" : "Infinity";
    } else {
      out += python_float_repr(number);
    }
  }
  void operator()(const std::string& text) const { out += dump_json_string(text); }
  void operator()(const JsonArray& items) const {
    out += '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += ", ";
      dump(items[i], out);
    }
    out += ']';
  }
  void operator()(const JsonObject& members) const {
    out += '{';
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out += ", ";
      out += dump_json_string(members[i].first);
      out += ": ";
      dump(members[i].second, out);
    }
    out += '}';
  }
};

void dump(const JsonValue& value, std::string& out) {
  std::visit(Dumper{out}, value.storage());
}

}  // namespace

const JsonValue* JsonValue::find(std::string_view key) const {
  const JsonObject* members = as_object();
  if (members == nullptr) return nullptr;
  const auto it = std::find_if(members->begin(), members->end(),
                               [&](const JsonMember& member) { return member.first == key; });
  return it == members->end() ? nullptr : &it->second;
}

bool JsonValue::is_truthy() const {
  struct Truth {
    bool operator()(std::nullptr_t) const { return false; }
    bool operator()(bool flag) const { return flag; }
    bool operator()(const JsonInteger& integer) const { return integer.digits != "0"; }
    bool operator()(double number) const { return number != 0; }
    bool operator()(const std::string& text) const { return !text.empty(); }
    bool operator()(const JsonArray& items) const { return !items.empty(); }
    bool operator()(const JsonObject& members) const { return !members.empty(); }
  };
  return std::visit(Truth{}, storage_);
}

std::string_view JsonValue::kind_name() const {
  constexpr std::string_view kNames[] = {"null",     "a boolean", "a number", "a number",
                                         "a string", "an array",  "an object"};
  return kNames[storage_.index()];
}

bool JsonValue::operator==(const JsonValue& other) const {
  const JsonObject* mine = as_object();
  const JsonObject* theirs = other.as_object();
  if (mine == nullptr || theirs == nullptr) return storage_ == other.storage_;
  return mine->size() == theirs->size() &&
         std::all_of(mine->begin(), mine->end(), [&](const JsonMember& member) {
           const JsonValue* value = other.find(member.first);
           return value != nullptr && *value == member.second;
         });
}

Result<JsonValue> parse_json(std::string_view text) {
  if (!utf8::is_valid(text)) {
    return Error{ErrorCode::kInvalidArgument, "JSON: want UTF-8, found bytes that are not"};
  }
  return Parser(text).parse_document();
}

std::string dump_json(const JsonValue& value) {
  std::string out;
  dump(value, out);
  return out;
}

void append_json_escaped(std::string_view text, std::string& out) {
  constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t";
  constexpr std::string_view kLetters = "\"\\bfnrt";
  for (const char c : text) {
    if (const std::size_t i = kEscaped.find(c); i != kEscaped.npos) {
      out += '\\';
      out += kLetters[i];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
}

std::string dump_json_string(std::string_view text) {
  std::string out = "\"";
  append_json_escaped(text, out);
  out += '"';
  return out;
}

std::string python_float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // The shortest digits that read back as the same number, laid out as float_repr_style "short":
  // plain between 1e-4 and 1e16, else with an exponent of at least two digits.
  char buffer[64];
  const auto written =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  const std::string_view text(buffer, written.ptr - buffer);
  const std::size_t e = text.find('e');
  int exponent = 0;
  const char* exponent_text = text.data() + e + 1 + (text[e + 1] == '+' ? 1 : 0);
  std::from_chars(exponent_text, text.data() + text.size(), exponent);
  std::string_view mantissa = text.substr(0, e);
  const std::string sign = mantissa.starts_with('-') ? "-" : "";
  if (!sign.empty()) mantissa.remove_prefix(1);
  std::string digits(1, mantissa[0]);
  if (mantissa.size() > 2) digits += mantissa.substr(2);

  if (exponent < -4 || exponent >= 16) {
    return fmt::format("{}{}{}{}e{}{:02}", sign, digits[0], digits.size() > 1 ? "." : "",
                       digits.substr(1), exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return fmt::format("{}0.{:0>{}}{}", sign, "", -exponent - 1, digits);
  const std::size_t point = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= point) return fmt::format("{}{:0<{}}.0", sign, digits, point);
  return fmt::format("{}{}.{}", sign, digits.substr(0, point), digits.substr(point));
}

}  // namespace precis
