#!/usr/bin/env bash
# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
#
# Installs, configures and starts karbor_ng in DevStack. "settings" beside
# this file has what can be set.

_XTRACE_KARBOR=$(set +o | grep xtrace)
set +o xtrace

# So that "is_service_enabled karbor" knows the services that begin with it.
function is_karbor_enabled {
    [[ ,${ENABLED_SERVICES} =~ ,"karbor-" ]]
}

function install_karbor {
    setup_develop "$KARBOR_DIR"
}

function create_karbor_accounts {
    # With the role "service", which keeps expired tokens of users usable.
    create_service_user "karbor"

    local url="$KARBOR_SERVICE_PROTOCOL://$KARBOR_SERVICE_HOST:$KARBOR_API_PORT"
    get_or_create_service "karbor" "data-protect" \
        "Application data protection"
    get_or_create_endpoint "data-protect" "$REGION_NAME" \
        "$url/v1/\$(project_id)s"

    if is_service_enabled s-proxy; then
        get_or_create_project "$KARBOR_BANK_PROJECT" "default"
        get_or_create_user "$KARBOR_BANK_USER" "$SERVICE_PASSWORD" "default"
        get_or_add_user_project_role "$KARBOR_BANK_ROLE" \
            "$KARBOR_BANK_USER" "$KARBOR_BANK_PROJECT" "default" "default"
    fi
}

function configure_karbor_service_user {
    iniset "$KARBOR_CONF" service_user auth_type password
    iniset "$KARBOR_CONF" service_user auth_url "$KEYSTONE_SERVICE_URI"
    iniset "$KARBOR_CONF" service_user username karbor
    iniset "$KARBOR_CONF" service_user password "$SERVICE_PASSWORD"
    iniset "$KARBOR_CONF" service_user project_name "$SERVICE_PROJECT_NAME"
    iniset "$KARBOR_CONF" service_user user_domain_name "$SERVICE_DOMAIN_NAME"
    iniset "$KARBOR_CONF" service_user project_domain_name \
        "$SERVICE_DOMAIN_NAME"
    iniset "$KARBOR_CONF" service_user region_name "$REGION_NAME"
}

function configure_karbor {
    sudo install -d -o "$STACK_USER" -m 750 "$KARBOR_CONF_DIR" \
        "$KARBOR_PROVIDERS_DIR" "$KARBOR_STATE_PATH" "$KARBOR_STATE_PATH/bank"
    rm -f "$KARBOR_CONF"

    iniset "$KARBOR_CONF" DEFAULT debug "$ENABLE_DEBUG_LOG_LEVEL"
    iniset "$KARBOR_CONF" DEFAULT state_path "$KARBOR_STATE_PATH"
    iniset "$KARBOR_CONF" DEFAULT osapi_karbor_listen "$KARBOR_API_LISTEN"
    iniset "$KARBOR_CONF" DEFAULT osapi_karbor_listen_port "$KARBOR_API_PORT"
    iniset "$KARBOR_CONF" DEFAULT osapi_karbor_workers "$KARBOR_API_WORKERS"
    iniset "$KARBOR_CONF" protection provider_config_dir \
        "$KARBOR_PROVIDERS_DIR"
    iniset "$KARBOR_CONF" oslo_concurrency lock_path "$KARBOR_STATE_PATH/lock"
    iniset "$KARBOR_CONF" database connection \
        "$(database_connection_url "$KARBOR_DB")"
    iniset "$KARBOR_CONF" credentials keys \
        "$("$KARBOR_BIN_DIR/karbor-manage" credentials key)"

    iniset_rpc_backend karbor "$KARBOR_CONF"
    configure_keystone_authtoken_middleware "$KARBOR_CONF" karbor
    configure_karbor_service_user
    setup_logging "$KARBOR_CONF"
    chmod 640 "$KARBOR_CONF"

    configure_karbor_providers
    configure_services_for_karbor
}

function configure_karbor_providers {
    local provider file
    for provider in $KARBOR_PROVIDERS; do
        file=$KARBOR_PROVIDERS_DIR/$provider.conf
        cp -p "$KARBOR_DIR/etc/providers.d/$provider.conf" "$file"
        iniset "$file" provider enabled True
        iniset "$file" file_system_bank_plugin file_system_bank_path \
            "$KARBOR_STATE_PATH/bank"
        iniset "$file" noop_protection_plugin registry_path \
            "$KARBOR_STATE_PATH/noop"
        if grep -q "^bank = karbor-swift-bank-plugin" "$file"; then
            configure_karbor_swift_bank "$file"
        fi
        chmod 640 "$file"
    done
}

function configure_karbor_swift_bank {
    local file=$1
    if ! is_service_enabled s-proxy; then
        iniset "$file" provider enabled False
        return
    fi
    iniset "$file" swift_client swift_auth_url "$KEYSTONE_SERVICE_URI"
    iniset "$file" swift_client swift_user "$KARBOR_BANK_USER"
    iniset "$file" swift_client swift_key "$SERVICE_PASSWORD"
    iniset "$file" swift_client swift_tenant_name "$KARBOR_BANK_PROJECT"
}

# Operations outlive the tokens with which they were asked for: the services
# that plugins call take such a token if one of a service comes with it.
function configure_services_for_karbor {
    local service
    for service in g-api:"$GLANCE_API_CONF" c-api:"$CINDER_CONF" \
            n-api:"$NOVA_CONF" neutron:"$NEUTRON_CONF"; do
        if is_service_enabled "${service%%:*}"; then
            iniset "${service#*:}" keystone_authtoken \
                service_token_roles_required True
        fi
    done
    if is_service_enabled s-proxy; then
        iniset "$SWIFT_CONF_DIR/proxy-server.conf" filter:authtoken \
            service_token_roles_required True
    fi
    if is_service_enabled c-bak && is_service_enabled s-proxy; then
        iniset "$CINDER_CONF" DEFAULT backup_swift_service_auth True
    fi
}

function init_karbor {
    recreate_database "$KARBOR_DB"
    "$KARBOR_BIN_DIR/karbor-manage" --config-file "$KARBOR_CONF" db sync
    "$KARBOR_BIN_DIR/karbor-status" --config-file "$KARBOR_CONF" \
        upgrade check
}

function start_karbor {
    run_process karbor-api \
        "$KARBOR_BIN_DIR/karbor-api --config-file $KARBOR_CONF"
    run_process karbor-protection \
        "$KARBOR_BIN_DIR/karbor-protection --config-file $KARBOR_CONF"
    run_process karbor-operationengine \
        "$KARBOR_BIN_DIR/karbor-operationengine --config-file $KARBOR_CONF"

    local url="$KARBOR_SERVICE_PROTOCOL://$KARBOR_SERVICE_HOST:$KARBOR_API_PORT"
    if ! wait_for_service "$SERVICE_TIMEOUT" "$url/"; then
        die $LINENO "karbor-api does not answer at $url"
    fi
}

function stop_karbor {
    stop_process karbor-api
    stop_process karbor-protection
    stop_process karbor-operationengine
}

function cleanup_karbor {
    sudo rm -rf "$KARBOR_CONF_DIR" "$KARBOR_STATE_PATH"
}

KARBOR_BIN_DIR=$(get_python_exec_prefix)

if is_service_enabled karbor; then
    if [[ "$1" == "stack" && "$2" == "install" ]]; then
        echo_summary "Installing karbor_ng"
        install_karbor
    elif [[ "$1" == "stack" && "$2" == "post-config" ]]; then
        echo_summary "Configuring karbor_ng"
        create_karbor_accounts
        configure_karbor
        init_karbor
    elif [[ "$1" == "stack" && "$2" == "extra" ]]; then
        echo_summary "Starting karbor_ng"
        start_karbor
    fi

    if [[ "$1" == "unstack" ]]; then
        stop_karbor
    fi
    if [[ "$1" == "clean" ]]; then
        stop_karbor
        cleanup_karbor
    fi
fi

$_XTRACE_KARBOR
