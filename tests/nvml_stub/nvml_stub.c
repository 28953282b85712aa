/* A small libnvidia-ml.so.1 with the driver's ABI, so that tests meet the real nvidia-ml-py without a GPU.
 *
 * TOKPROF_NVML_STUB names a text file of lines "key value"; it is read again whenever it changes. Keys and defaults are
 * in read_settings() below. Power is constant or a square wave over CLOCK_MONOTONIC; the energy counter is the exact
 * integral of that wave, brought up to date only every counter_period_ms, as a real one. "error.FUNCTION CODE" makes a
 * function fail, "field_error.ID CODE" one field, "spin_us.FUNCTION N" makes a call burn N microseconds of CPU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { MAX_PROCESSES = 16, MAX_RULES = 32, MAX_DEVICES = 8 };

typedef struct { unsigned index; } device_t;
typedef struct { unsigned pid; unsigned long long used_bytes; unsigned gpu_instance, compute_instance; } process_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; int sensor; int temperature; } temperature_t;
typedef struct {
    unsigned field, scope;
    long long timestamp_us, latency_us;
    int value_type, code;
    union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; } value;
} field_t;
typedef struct { char name[80]; long value; } rule_t;

static struct {
    int loaded;
    struct timespec changed;
    double power_mw, high_power_mw, wave_ms, counter_period_ms, energy_scale;
    double sm_clock_mhz, memory_clock_mhz, max_sm_clock_mhz, temperature_c, power_limit_mw;
    double power_cap_share, thermal_share, device_count;
    unsigned long long reasons;
    unsigned compute[MAX_PROCESSES], graphics[MAX_PROCESSES];
    int compute_count, graphics_count, rule_count;
    rule_t rules[MAX_RULES];
} settings;
static device_t devices[MAX_DEVICES];

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int read_pids(char *text, unsigned *pids) {
    int count = 0;
    for (char *word = strtok(text, " "); word && count < MAX_PROCESSES; word = strtok(NULL, " ")) {
        pids[count++] = (unsigned)strtoul(word, NULL, 10);
    }
    return count;
}

static void read_settings(void) {
    const char *path = getenv("TOKPROF_NVML_STUB");
    struct stat facts;
    memset(&facts, 0, sizeof facts);
    if (path && stat(path, &facts)) return;
    if (settings.loaded && !memcmp(&facts.st_mtim, &settings.changed, sizeof facts.st_mtim)) return;
    memset(&settings, 0, sizeof settings);
    settings.loaded = 1;
    settings.changed = facts.st_mtim;
    settings.power_mw = 300000;
    settings.high_power_mw = 0; /* with wave_ms: every second half of the wave */
    settings.counter_period_ms = 20;
    settings.energy_scale = 1;
    settings.sm_clock_mhz = 1410;
    settings.max_sm_clock_mhz = 1980;
    settings.memory_clock_mhz = 2619;
    settings.temperature_c = 45;
    settings.power_limit_mw = 700000;
    settings.device_count = 1;
    struct { const char *key; double *place; } numbers[] = {
        {"power_mw", &settings.power_mw}, {"high_power_mw", &settings.high_power_mw},
        {"wave_ms", &settings.wave_ms}, {"counter_period_ms", &settings.counter_period_ms},
        {"energy_scale", &settings.energy_scale}, {"sm_clock_mhz", &settings.sm_clock_mhz},
        {"max_sm_clock_mhz", &settings.max_sm_clock_mhz}, {"memory_clock_mhz", &settings.memory_clock_mhz},
        {"temperature_c", &settings.temperature_c}, {"power_limit_mw", &settings.power_limit_mw},
        {"power_cap_share", &settings.power_cap_share}, {"thermal_share", &settings.thermal_share},
        {"device_count", &settings.device_count},
    };
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *value = strchr(line, ' ');
        if (!value) continue;
        *value++ = 0;
        if (!strcmp(line, "reasons")) settings.reasons = strtoull(value, NULL, 0);
        else if (!strcmp(line, "compute")) settings.compute_count = read_pids(value, settings.compute);
        else if (!strcmp(line, "graphics")) settings.graphics_count = read_pids(value, settings.graphics);
        else if (strchr(line, '.')) {
            if (settings.rule_count < MAX_RULES) {
                rule_t *rule = &settings.rules[settings.rule_count++];
                snprintf(rule->name, sizeof rule->name, "%.79s", line);
                rule->value = strtol(value, NULL, 10);
            }
        } else {
            for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
                if (!strcmp(line, numbers[i].key)) *numbers[i].place = strtod(value, NULL);
            }
        }
    }
    if (file) fclose(file);
}

static long rule(const char *kind, const char *name) {
    char wanted[80];
    snprintf(wanted, sizeof wanted, "%s.%s", kind, name);
    for (int i = 0; i < settings.rule_count; i++) {
        if (!strcmp(settings.rules[i].name, wanted)) return settings.rules[i].value;
    }
    return 0;
}

/* Every call begins here: fresh settings, the asked-for delay, the asked-for error. */
static int enter(const char *function) {
    read_settings();
    long long until = now_ns() + rule("spin_us", function) * 1000LL;
    while (now_ns() < until) {}
    return (int)rule("error", function);
}
#define ENTER() do { int code_ = enter(__func__); if (code_) return code_; } while (0)

static double power_at(double t_ms) {
    if (settings.wave_ms <= 0) return settings.power_mw;
    double phase = t_ms - settings.wave_ms * (long long)(t_ms / settings.wave_ms);
    return phase < settings.wave_ms / 2 ? settings.power_mw : settings.high_power_mw;
}

static double energy_at(double t_ms) { /* mJ = mW ms / 1000 */
    if (settings.wave_ms <= 0) return settings.power_mw * t_ms / 1000;
    long long waves = (long long)(t_ms / settings.wave_ms);
    double half = settings.wave_ms / 2, rest = t_ms - waves * settings.wave_ms;
    double low = waves * half + (rest < half ? rest : half);
    double high = waves * half + (rest < half ? 0 : rest - half);
    return (low * settings.power_mw + high * settings.high_power_mw) / 1000;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    ENTER();
    for (unsigned i = 0; i < MAX_DEVICES; i++) devices[i].index = i;
    return SUCCESS;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { ENTER(); return SUCCESS; }
const char *nvmlErrorString(int code) {
    switch (code) {
    case SUCCESS: return "Success";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case 4: return "Insufficient Permissions";
    case 9: return "Driver Not Loaded";
    case 13: return "Function Not Found";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

static int text(char *buffer, unsigned length, const char *value) {
    if (strlen(value) + 1 > length) return INSUFFICIENT_SIZE;
    strcpy(buffer, value);
    return SUCCESS;
}
int nvmlSystemGetDriverVersion(char *buffer, unsigned length) { ENTER(); return text(buffer, length, "580.65.06"); }
int nvmlSystemGetNVMLVersion(char *buffer, unsigned length) { ENTER(); return text(buffer, length, "13.580.65.06"); }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { ENTER(); *version = 13000; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { ENTER(); *count = (unsigned)settings.device_count; return SUCCESS; }

static void uuid_of(unsigned index, char *buffer, size_t length) {
    snprintf(buffer, length, "GPU-00000000-5174-4b90-8000-%012u", index);
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t **device) {
    ENTER();
    if (index >= (unsigned)settings.device_count) return INVALID_ARGUMENT;
    *device = &devices[index];
    return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, device_t **device) {
    ENTER();
    for (unsigned i = 0; i < (unsigned)settings.device_count; i++) {
        char mine[64];
        uuid_of(i, mine, sizeof mine);
        if (!strcmp(mine, uuid)) { *device = &devices[i]; return SUCCESS; }
    }
    return NOT_FOUND;
}
int nvmlDeviceGetIndex(device_t *device, unsigned *index) { ENTER(); *index = device->index; return SUCCESS; }
int nvmlDeviceGetName(device_t *device, char *buffer, unsigned length) {
    (void)device;
    ENTER();
    return text(buffer, length, "NVIDIA Stub 80GB");
}
int nvmlDeviceGetUUID(device_t *device, char *buffer, unsigned length) {
    ENTER();
    uuid_of(device->index, buffer, length);
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(device_t *device, memory_t *memory) {
    (void)device;
    ENTER();
    *memory = (memory_t){85899345920ULL, 85000000000ULL, 899345920ULL};
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(device_t *device, int *major, int *minor) {
    (void)device;
    ENTER();
    *major = 9;
    *minor = 0;
    return SUCCESS;
}
int nvmlDeviceGetEnforcedPowerLimit(device_t *device, unsigned *limit_mw) {
    (void)device;
    ENTER();
    *limit_mw = (unsigned)settings.power_limit_mw;
    return SUCCESS;
}
int nvmlDeviceGetPowerManagementDefaultLimit(device_t *device, unsigned *limit_mw) {
    (void)device;
    ENTER();
    *limit_mw = 700000;
    return SUCCESS;
}
int nvmlDeviceGetClockInfo(device_t *device, int type, unsigned *mhz) {
    (void)device;
    ENTER();
    *mhz = (unsigned)(type == 2 ? settings.memory_clock_mhz : settings.sm_clock_mhz);
    return SUCCESS;
}
int nvmlDeviceGetMaxClockInfo(device_t *device, int type, unsigned *mhz) {
    (void)device;
    ENTER();
    *mhz = (unsigned)(type == 2 ? settings.memory_clock_mhz : settings.max_sm_clock_mhz);
    return SUCCESS;
}
int nvmlDeviceGetPowerUsage(device_t *device, unsigned *power_mw) {
    (void)device;
    ENTER();
    *power_mw = (unsigned)power_at(now_ns() / 1e6);
    return SUCCESS;
}
int nvmlDeviceGetTotalEnergyConsumption(device_t *device, unsigned long long *energy_mj) {
    (void)device;
    ENTER();
    double t_ms = now_ns() / 1e6;
    long long updates = (long long)(t_ms / settings.counter_period_ms);
    *energy_mj = (unsigned long long)(settings.energy_scale * energy_at(updates * settings.counter_period_ms));
    return SUCCESS;
}
int nvmlDeviceGetTemperatureV(device_t *device, temperature_t *temperature) {
    (void)device;
    ENTER();
    temperature->temperature = (int)settings.temperature_c;
    return SUCCESS;
}
int nvmlDeviceGetTemperature(device_t *device, int sensor, unsigned *temperature_c) {
    (void)device, (void)sensor;
    ENTER();
    *temperature_c = (unsigned)settings.temperature_c;
    return SUCCESS;
}
int nvmlDeviceGetCurrentClocksEventReasons(device_t *device, unsigned long long *reasons) {
    (void)device;
    ENTER();
    *reasons = settings.reasons;
    return SUCCESS;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(device_t *device, unsigned long long *reasons) {
    (void)device;
    ENTER();
    *reasons = settings.reasons;
    return SUCCESS;
}

static int list(const unsigned *pids, int count, unsigned *length, process_t *processes) {
    unsigned room = *length;
    *length = (unsigned)count;
    if (room < (unsigned)count || (count && !processes)) return INSUFFICIENT_SIZE;
    for (int i = 0; i < count; i++) processes[i] = (process_t){pids[i], 1ULL << 30, 0xFFFFFFFF, 0xFFFFFFFF};
    return SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v3(device_t *device, unsigned *length, process_t *processes) {
    (void)device;
    ENTER();
    return list(settings.compute, settings.compute_count, length, processes);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(device_t *device, unsigned *length, process_t *processes) {
    (void)device;
    ENTER();
    return list(settings.graphics, settings.graphics_count, length, processes);
}

int nvmlDeviceGetFieldValues(device_t *device, int count, field_t *fields) {
    (void)device;
    ENTER();
    double t_ms = now_ns() / 1e6;
    for (int i = 0; i < count; i++) {
        field_t *field = &fields[i];
        char name[16];
        snprintf(name, sizeof name, "%u", field->field);
        field->code = (int)rule("field_error", name);
        field->timestamp_us = now_ns() / 1000;
        field->value_type = 1;
        switch (field->field) {
        case 74:
            field->value_type = 3;
            field->value.ull = (unsigned long long)(settings.power_cap_share * t_ms * 1e6);
            break;
        case 75:
            field->value_type = 3;
            field->value.ull = (unsigned long long)(settings.thermal_share * t_ms * 1e6);
            break;
        case 185:
        case 186:
            field->value.ui = (unsigned)power_at(t_ms);
            break;
        default:
            field->code = NOT_SUPPORTED;
        }
    }
    return SUCCESS;
}
