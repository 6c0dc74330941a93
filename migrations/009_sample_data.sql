-- Migration: 009_sample_data
-- Description: Something to look at: two customers, three products, two orders
-- Author: Ada Kern
-- Date: 2025-04-08
-- Tags: data

INSERT INTO shop.customers (email, name) VALUES
    ('lina@example.org', 'Lina Roth'),
    ('omar@example.org', 'Omar Haddad');

INSERT INTO shop.products (tenant, sku, title, price_cents, published) VALUES
    ('north', 'KETTLE-1', 'Kettle; holds 1.5 l', 3490, true),
    ('north', 'CUP-4',    'Four cups',           1800, true),
    ('south', 'TEA-100',  'Tea, 100 g',           650, false);

INSERT INTO shop.stock (product_id, pieces)
SELECT id, 10 FROM shop.products WHERE tenant = 'north';

INSERT INTO shop.orders (customer_id, state)
SELECT id, CASE name WHEN 'Lina Roth' THEN 'paid' ELSE 'placed' END::shop.order_state
  FROM shop.customers WHERE email IN ('lina@example.org', 'omar@example.org');

-- The trigger of 004_order_totals adds these up.
INSERT INTO shop.order_lines (order_id, product_id, quantity, price_cents)
SELECT o.id, p.id, 2, p.price_cents
  FROM shop.orders AS o
  JOIN shop.customers AS c ON c.id = o.customer_id
  JOIN shop.products AS p ON p.sku = CASE c.email WHEN 'lina@example.org' THEN 'KETTLE-1' ELSE 'TEA-100' END
 WHERE c.email IN ('lina@example.org', 'omar@example.org');
