// The shapes of the released models, as data in the field names of their config.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace precis {

struct ReleasedModel {
  std::string name;    // as on the command line
  std::string source;  // where the numbers are from
  std::string config;  // JSON
};

/// Names in the order of their release.
std::vector<std::string> released_model_names();

std::optional<ReleasedModel> find_released_model(std::string_view name);

}  // namespace precis
