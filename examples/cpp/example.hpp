/* What the examples share: the URI, and an end that says why when something is not as it should be. */

#ifndef EXAMPLE_HPP
#define EXAMPLE_HPP

#include <cstdio>
#include <cstdlib>
#include <slotkv.hpp>
#include <string>

inline std::string uri_of(int count, char **arguments) {
    return count > 1 ? arguments[1] : "slotkv://127.0.0.1:7700";
}

/* A client whose calls are for one namespace. */
inline slotkv::Client connected(int count, char **arguments, const std::string &namespace_name,
                                std::chrono::milliseconds deadline = {}) {
    slotkv::ConnectOptions options;
    options.namespace_name = namespace_name;
    options.deadline = deadline;
    return slotkv::Client(uri_of(count, arguments), options);
}

#define EXPECT(condition)                                      \
    do {                                                       \
        if (!(condition)) {                                    \
            std::fprintf(stderr, "not so: %s\n", #condition);  \
            std::exit(1);                                      \
        }                                                      \
    } while (0)

#endif
