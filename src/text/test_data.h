// Files under tests/data, for the tests of this folder.
#pragma once

#include <fstream>
#include <sstream>
#include <string>

namespace precis {

inline std::string read_test_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace precis
