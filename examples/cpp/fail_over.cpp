/* c++ -std=c++17 examples/cpp/fail_over.cpp $(pkg-config --cflags --libs slotkv) -o fail_over && ./fail_over [URI]
 *
 * What a caller meets while a worker is down. The example adds to counters on every shard and asks you to crash a worker
 * (kill -9) and to start it again on its data. Calls wait and are repeated by the client, each addition happens exactly
 * once, and in the end the counters agree with what was acknowledged. */

#include "example.hpp"

#include <algorithm>
#include <map>
#include <vector>

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/* Spread over the slots, so that every shard has some. */
static constexpr int COUNTERS = 64;
/* Rounds of additions after the interruption was seen. */
static constexpr int ROUNDS_AFTER = 20;
/* Longest time that one addition may take, and so that the worker may be away. */
static constexpr milliseconds PATIENCE{60'000};

/* Adds 1; the sum as it is known to be. */
static std::int64_t add(slotkv::Client &client, const std::string &key, std::int64_t acknowledged) {
    try {
        std::int64_t sum = client.increment(key).number();
        // An addition is neither lost nor done twice.
        EXPECT(sum == acknowledged + 1);
        return sum;
    } catch (const slotkv::Error &error) {
        if (error.outcome() != SLOTKV_OUTCOME_UNKNOWN) {
            throw;
        }
    }
    // The one case in which a caller has to look: the addition may have been applied or not.
    return std::stoll(client.get(key).text().value_or("0"));
}

int main(int count, char **arguments) {
    slotkv::Client client = connected(count, arguments, "example-fail-over", PATIENCE);
    std::vector<std::string> keys;
    for (int number = 0; number < COUNTERS; number++) {
        keys.push_back("counter/" + std::to_string(number));
    }
    (void)client.remove_many(keys);
    std::map<std::string, std::int64_t> acknowledged;
    Clock::duration longest{};
    bool is_asked = false;
    int rounds_left = ROUNDS_AFTER;
    while (rounds_left > 0) {
        for (const std::string &key : keys) {
            Clock::time_point start = Clock::now();
            acknowledged[key] = add(client, key, acknowledged[key]);
            longest = std::max(longest, Clock::now() - start);
        }
        if (!is_asked) {
            std::puts("crash a worker now (kill -9) and start it again");
            std::fflush(stdout);
            is_asked = true;
        }
        rounds_left -= client.stats().stats()->connections_lost > 0;
    }

    std::int64_t additions = 0;
    for (const std::string &key : keys) {
        EXPECT(client.get(key).text() == std::to_string(acknowledged[key]));
        additions += acknowledged[key];
    }
    slotkv::Result stats = client.stats();
    (void)client.remove_many(keys);
    std::printf("ok: %lld additions, each exactly once; longest %lld ms, %llu sent again, %llu connections lost\n",
                static_cast<long long>(additions),
                static_cast<long long>(std::chrono::duration_cast<milliseconds>(longest).count()),
                static_cast<unsigned long long>(stats.stats()->retries),
                static_cast<unsigned long long>(stats.stats()->connections_lost));
}
