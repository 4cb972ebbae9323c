import CMnl
import CNftnl
import Glibc
import Netlink

// The requests that our table is made of. Each can be repeated: what is there already is no error.

extension Transaction {
    /// The table with its sets, chains and rules, whatever of it there is. The rules are made anew, together with all else:
    /// nobody sees the table without them, nor with two of each.
    mutating func makeTable() {
        let create = NLM_F_CREATE
        onTable(NFT_MSG_NEWTABLE, flags: create, "make table ip \(Ruleset.table)")
        for (index, set) in Ruleset.sets.enumerated() { make(set, id: UInt32(index + 1)) }
        for chain in Ruleset.chains {
            make(chain)
            onRule(NFT_MSG_DELRULE, flags: 0, chain, [], "empty chain \(chain.name)")
            onRule(NFT_MSG_NEWRULE, flags: create | NLM_F_APPEND, chain, chain.rule, "make rule of chain \(chain.name)")
        }
    }

    mutating func deleteTable() { onTable(NFT_MSG_DELTABLE, flags: 0, "delete table ip \(Ruleset.table)") }

    mutating func insert(_ elements: [Element], into set: String, _ operation: String) {
        for start in stride(from: 0, to: elements.count, by: Self.elementsPerRequest) {
            let part = elements[start..<min(start + Self.elementsPerRequest, elements.count)]
            onElements(NFT_MSG_NEWSETELEM, flags: NLM_F_CREATE, part, of: set, operation)
        }
    }

    mutating func delete(_ element: Element, from set: String, _ operation: String) {
        onElements(NFT_MSG_DELSETELEM, flags: 0, [Element(key: element.key)], of: set, operation)
    }

    mutating func empty(_ set: String) {
        onElements(NFT_MSG_DELSETELEM, flags: 0, [], of: set, "empty \(set)")
    }

    // MARK: - Parts. libnftnl's objects are freed where they are made; what is set is copied.

    private mutating func onTable(_ type: nf_tables_msg_types, flags: Int32, _ operation: String) {
        unsafe add(type, flags: flags, operation) { header in
            guard let table = unsafe nftnl_table_alloc() else { return }
            defer { unsafe nftnl_table_free(table) }
            _ = unsafe nftnl_table_set_str(table, UInt16(NFTNL_TABLE_NAME.rawValue), Ruleset.table)
            unsafe nftnl_table_nlmsg_build_payload(header, table)
        }
    }

    private mutating func make(_ set: Ruleset.Set, id: UInt32) {
        unsafe add(NFT_MSG_NEWSET, flags: NLM_F_CREATE, "make set \(set.name)") { header in
            guard let object = unsafe nftnl_set_alloc() else { return }
            defer { unsafe nftnl_set_free(object) }
            _ = unsafe nftnl_set_set_str(object, UInt16(NFTNL_SET_TABLE.rawValue), Ruleset.table)
            _ = unsafe nftnl_set_set_str(object, UInt16(NFTNL_SET_NAME.rawValue), set.name)
            var flags: UInt32 = 0
            if set.value != nil { flags |= UInt32(NFT_SET_MAP.rawValue) }
            if set.isInterval { flags |= UInt32(NFT_SET_INTERVAL.rawValue) }
            if set.timeout != nil { flags |= UInt32(NFT_SET_TIMEOUT.rawValue) }
            var numbers: [(nftnl_set_attr, UInt32)] = [
                (NFTNL_SET_FLAGS, flags), (NFTNL_SET_KEY_TYPE, set.key.type), (NFTNL_SET_KEY_LEN, set.key.length),
                (NFTNL_SET_FAMILY, UInt32(AF_INET)), (NFTNL_SET_ID, id),
            ]
            if let value = set.value {
                numbers += [(NFTNL_SET_DATA_TYPE, value.type), (NFTNL_SET_DATA_LEN, value.length)]
            }
            for (attribute, number) in numbers {
                unsafe nftnl_set_set_u32(object, UInt16(attribute.rawValue), number)
            }
            if let timeout = set.timeout {
                unsafe nftnl_set_set_u64(object, UInt16(NFTNL_SET_TIMEOUT.rawValue), timeout)
            }
            unsafe nftnl_set_nlmsg_build_payload(header, object)
        }
    }

    private mutating func make(_ chain: Ruleset.Chain) {
        unsafe add(NFT_MSG_NEWCHAIN, flags: NLM_F_CREATE, "make chain \(chain.name)") { header in
            guard let object = unsafe nftnl_chain_alloc() else { return }
            defer { unsafe nftnl_chain_free(object) }
            _ = unsafe nftnl_chain_set_str(object, UInt16(NFTNL_CHAIN_TABLE.rawValue), Ruleset.table)
            _ = unsafe nftnl_chain_set_str(object, UInt16(NFTNL_CHAIN_NAME.rawValue), chain.name)
            _ = unsafe nftnl_chain_set_str(object, UInt16(NFTNL_CHAIN_TYPE.rawValue), chain.type)
            unsafe nftnl_chain_set_u32(object, UInt16(NFTNL_CHAIN_HOOKNUM.rawValue), chain.hook)
            unsafe nftnl_chain_set_s32(object, UInt16(NFTNL_CHAIN_PRIO.rawValue), chain.priority)
            unsafe nftnl_chain_set_u32(object, UInt16(NFTNL_CHAIN_POLICY.rawValue), 1)  // NF_ACCEPT
            unsafe nftnl_chain_nlmsg_build_payload(header, object)
        }
    }

    private mutating func onRule(
        _ type: nf_tables_msg_types, flags: Int32, _ chain: Ruleset.Chain, _ expressions: [Expression],
        _ operation: String
    ) {
        unsafe add(type, flags: flags, operation) { header in
            guard let rule = unsafe nftnl_rule_alloc() else { return }
            defer { unsafe nftnl_rule_free(rule) }
            unsafe nftnl_rule_set_u32(rule, UInt16(NFTNL_RULE_FAMILY.rawValue), UInt32(AF_INET))
            _ = unsafe nftnl_rule_set_str(rule, UInt16(NFTNL_RULE_TABLE.rawValue), Ruleset.table)
            _ = unsafe nftnl_rule_set_str(rule, UInt16(NFTNL_RULE_CHAIN.rawValue), chain.name)
            for expression in expressions { unsafe nftnl_rule_add_expr(rule, expression.make()) }
            unsafe nftnl_rule_nlmsg_build_payload(header, rule)
        }
    }

    private mutating func onElements(
        _ type: nf_tables_msg_types, flags: Int32, _ elements: some Collection<Element>, of set: String,
        _ operation: String
    ) {
        unsafe add(type, flags: flags, operation) { header in
            guard let object = unsafe nftnl_set_alloc() else { return }
            defer { unsafe nftnl_set_free(object) }
            _ = unsafe nftnl_set_set_str(object, UInt16(NFTNL_SET_TABLE.rawValue), Ruleset.table)
            _ = unsafe nftnl_set_set_str(object, UInt16(NFTNL_SET_NAME.rawValue), set)
            for element in elements {
                guard let item = unsafe nftnl_set_elem_alloc() else { continue }
                _ = unsafe nftnl_set_elem_set(
                    item, UInt16(NFTNL_SET_ELEM_KEY), element.key, UInt32(element.key.count))
                if let value = element.value {
                    _ = unsafe nftnl_set_elem_set(
                        item, UInt16(NFTNL_SET_ELEM_DATA), value, UInt32(value.count))
                }
                if element.isEnd {
                    unsafe nftnl_set_elem_set_u32(
                        item, UInt16(NFTNL_SET_ELEM_FLAGS), UInt32(NFT_SET_ELEM_INTERVAL_END.rawValue))
                }
                // The set owns it now.
                unsafe nftnl_set_elem_add(object, item)
            }
            unsafe nftnl_set_elems_nlmsg_build_payload(header, object)
        }
    }
}
