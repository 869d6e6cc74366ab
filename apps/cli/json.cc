#include "cli/json.h"

#include <fmt/core.h>

namespace precis::cli {

void print_json(const Json& value) {
  fmt::print("{}\n", value.dump(2, ' ', false, Json::error_handler_t::replace));
}

Result<Json> parse_json(std::string_view text, std::string_view source) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    return Error{ErrorCode::kInvalidArgument, fmt::format("{} is not JSON: {}", source, e.what())};
  }
}

Result<std::string> string_field(const Json& value, const char* key, std::string_view source) {
  if (!value.is_object() || !value.contains(key) || !value[key].is_string()) {
    return Error{
        ErrorCode::kInvalidArgument,
        fmt::format("{}: want an object with a string \"{}\", found {}", source, key,
                    value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60))};
  }
  return value[key].get<std::string>();
}

}  // namespace precis::cli
