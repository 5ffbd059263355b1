// A main for fuzz targets without libFuzzer: every seed, then mutants of seeds for some seconds
// (TANDEM_FUZZ_SECONDS, 3 when unset). The same mutants in the same order at every run. An input
// that kills the program is left in crash.bin.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

const Bytes* running = nullptr;

void leave_crash(int signal_number) {
  if (running) {
    if (std::FILE* file = std::fopen("crash.bin", "wb")) {
      std::fwrite(running->data(), 1, running->size(), file);
      std::fclose(file);
    }
    std::fprintf(stderr, "signal %d for the %zu bytes in crash.bin\n", signal_number,
                 running->size());
  }
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
}

struct Random {  // xorshift64*, Vigna 2016
  uint64_t state = 0x9E3779B97F4A7C15u;
  uint64_t below(uint64_t n) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return n ? (state * 0x2545F4914F6CDD1Du >> 33) % n : 0;
  }
};

void mutate(Bytes& bytes, const std::vector<Bytes>& seeds, Random& random) {
  static const uint8_t telling[] = {0, 1, 2, 4, 8, 9, 16, 32, 63, 64, 127, 128, 254, 255};
  const size_t n = bytes.size(), at = size_t(random.below(n));
  switch (random.below(8)) {
    case 0:
      if (n) bytes[at] ^= uint8_t(1u << random.below(8));
      break;
    case 1:
      if (n) bytes[at] = telling[random.below(sizeof telling)];
      break;
    case 2:
      for (size_t i = at, end = at + (size_t(1) << random.below(4)); i < end && i < n; ++i)
        bytes[i] = uint8_t(random.below(2) ? 255 : 0);
      break;
    case 3: bytes.resize(at); break;
    case 4: bytes.insert(bytes.begin() + long(at), uint8_t(random.below(256))); break;
    case 5:
      if (n) bytes.erase(bytes.begin() + long(at), bytes.begin() + long(at + random.below(n - at)));
      break;
    case 6: {  // a digit of a text header
      for (size_t i = at; i < n; ++i)
        if (bytes[i] >= '0' && bytes[i] <= '9') {
          bytes[i] = uint8_t('0' + random.below(10));
          break;
        }
      break;
    }
    default: {  // the front of this one, the back of another
      const Bytes& other = seeds[random.below(seeds.size())];
      const size_t from = size_t(random.below(other.size()));
      bytes.resize(at);
      bytes.insert(bytes.end(), other.begin() + long(from), other.end());
    }
  }
}

void run(const Bytes& bytes) {
  running = &bytes;
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  running = nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  for (int s : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS, SIGILL}) std::signal(s, leave_crash);
  std::vector<Bytes> seeds{Bytes{}};
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::exists(argv[i])) continue;
    std::vector<std::filesystem::path> paths;
    if (std::filesystem::is_directory(argv[i])) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i]))
        if (entry.is_regular_file()) paths.push_back(entry.path());
    } else {
      paths.push_back(argv[i]);
    }
    for (const auto& path : paths) {
      Bytes bytes(std::filesystem::file_size(path));
      std::FILE* file = std::fopen(path.c_str(), "rb");
      if (!file) continue;
      bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
      std::fclose(file);
      seeds.push_back(std::move(bytes));
    }
  }
  for (const Bytes& seed : seeds) run(seed);

  const char* text = std::getenv("TANDEM_FUZZ_SECONDS");
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::duration<double>(text ? std::atof(text) : 3.0);
  Random random;
  long mutants = 0;
  for (; std::chrono::steady_clock::now() < end; ++mutants) {
    Bytes bytes = seeds[random.below(seeds.size())];
    for (uint64_t i = 0, n = 1 + random.below(4); i < n; ++i) mutate(bytes, seeds, random);
    run(bytes);
  }
  std::printf("%zu seeds, %ld mutants\n", seeds.size(), mutants);
  return seeds.size() > 1 ? 0 : 2;  // without seeds nothing but noise was tried
}
